# TuckerSeg's command line, on CPUs:
#   docker build -t tuckerseg .
#   docker run --rm -v "$PWD:/data" -v tuckerseg:/var/lib/tuckerseg tuckerseg segment CT.nii.gz labels.nii.gz --model total_fast
FROM python:3.12-slim-bookworm

# Models that were downloaded and the cache outlive a container where this is a volume
ENV TUCKERSEG_MODELS_DIR=/var/lib/tuckerseg/models \
    TUCKERSEG_CACHE_DIR=/var/lib/tuckerseg/cache

COPY pyproject.toml constraints.txt README.md LICENSE.txt /opt/tuckerseg/
COPY TuckerSeg /opt/tuckerseg/TuckerSeg
# PyTorch's build for CPUs is a tenth of the one for GPUs
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --constraint /opt/tuckerseg/constraints.txt "/opt/tuckerseg[dicom,demo]"

RUN useradd --create-home tuckerseg && mkdir -p /data /var/lib/tuckerseg && chown tuckerseg /data /var/lib/tuckerseg
USER tuckerseg
VOLUME /var/lib/tuckerseg
WORKDIR /data

ENTRYPOINT ["tuckerseg"]
CMD ["--help"]
