"""What pip 23.2 and 26.0 wrote when they failed, if nothing else is said, and what the user is told of it."""

from __future__ import annotations

import pytest

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by '{error}': /simple/blosc2/"
)
NOTHING_FOUND = """
ERROR: Could not find a version that satisfies the requirement blosc2 (from versions: none)
ERROR: No matching distribution found for blosc2
"""
REFUSED = (
    "NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f646ef69090>: "
    "Failed to establish a new connection: [Errno 111] Connection refused')"
)
NO_PROXY = f"ProxyError('Cannot connect to proxy.', {REFUSED})"
UNVERIFIED = (
    "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
    "self-signed certificate (_ssl.c:1006)'))"
)
CONFLICT = """
ERROR: Cannot install nnunetv2==2.8.1 because these package versions have conflicting dependencies.

The conflict is caused by:
    nnunetv2 2.8.1 depends on numpy<1
    The user requested (constraint) numpy==2.4.6

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    numpy

To fix this you could try to:
1. loosen the range of package versions you've specified
2. remove package versions to allow pip to attempt to solve the dependency conflict

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/#dealing-with
"""
BUILD = """
Building wheels for collected packages: imagecodecs
  error: subprocess-exited-with-error
      RuntimeError: error: Microsoft Visual C++ 14.0 or greater is required
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
  ERROR: Failed building wheel for imagecodecs
Failed to build imagecodecs
error: failed-wheel-build-for-install

× Failed to build installable wheels for some pyproject.toml based projects
╰─> imagecodecs
"""
OTHER_VERSIONS = """
ERROR: Could not find a version that satisfies the requirement torch==1.0.0 (from versions: 1.13.0, 1.13.1, 2.0.0)
ERROR: No matching distribution found for torch==1.0.0
"""
LONG_PATH = """
Downloading torch-2.13.0-cp312-cp312-win_amd64.whl (110.9 MB)
Downloading networkx-3.6.1-py3-none-any.whl (2.1 MB)
Installing collected packages: networkx, torch
ERROR: Could not install packages due to an OSError: [WinError 206] The filename or extension is too long: \
'C:\\\\Slicer\\\\lib\\\\Python\\\\Lib\\\\site-packages\\\\torch-2.13.0.dist-info\\\\licenses\\\\third_party'
"""  # as users of Slicer have reported it
LONG_PATH_ON_LINUX = """
Processing ./wheels/torch-2.13.0-py3-none-any.whl
Installing collected packages: torch
ERROR: Could not install packages due to an OSError: [Errno 36] File name too long: \
'/opt/Slicer/lib/Python/lib/python3.12/site-packages/torch/a'
"""
FULL_DISK = """
Collecting openvino
  Downloading openvino-2026.4.1-22982-cp311-cp311-manylinux_2_28_x86_64.whl (59.1 MB)
    raise Error(errors)
shutil.Error: [('/tmp/a/data.npy', '/t/data.npy', "[Errno 28] No space left on device: '/tmp/a/data.npy' -> '/t/'")]
"""
IN_USE = """
Installing collected packages: numpy
  Attempting uninstall: numpy
ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'C:\\Slicer\\numpy\\core.pyd'
Consider using the `--user` option or check the permissions.
"""  # as users of Slicer have reported it


@pytest.fixture
def classify(slicer_app):
    from TuckerSegLib.slicer_bridge.installation.pip_failures import classify

    return lambda text, **options: classify(text.splitlines(), **options)


@pytest.mark.parametrize(
    ("text", "kind", "wheel", "advice"),
    [
        (RETRY.format(error=NO_PROXY) + NOTHING_FOUND, "proxy", "blosc2", "HTTPS_PROXY"),
        (RETRY.format(error=UNVERIFIED) + NOTHING_FOUND, "certificate", "blosc2", "PIP_CERT"),
        (RETRY.format(error=REFUSED) + NOTHING_FOUND, "network", "blosc2", "connection to the internet"),
        (NOTHING_FOUND, "wheel", "blosc2", "another Python"),
        (OTHER_VERSIONS, "wheel", "torch", "another Python"),
        (CONFLICT, "conflict", "nnunetv2", "nnunetv2 2.8.1 depends on numpy<1; The user requested (con"),
        (BUILD, "build", "imagecodecs", "compiled"),
        (LONG_PATH, "path", "torch", "C:\\Slicer"),
        (LONG_PATH_ON_LINUX, "path", "torch", "long"),
        (FULL_DISK, "disk", "openvino", "Free some space"),
        (IN_USE, "permission", "numpy", "Restart Slicer"),
        ("ERROR: Something new", "unknown", None, "pip says: Something new"),
        ("", "unknown", None, "log"),
    ],
)
def test_a_failure_is_told_with_its_reason_its_wheel_and_what_to_do(classify, text, kind, wheel, advice):
    failure = classify(text)
    assert (failure.kind, failure.wheel) == (kind, wheel)
    assert advice in failure.message
    assert failure.message.startswith(f"{wheel} could not be installed. " if wheel else failure.message[:1])


@pytest.mark.parametrize(("text", "kind"), [(OTHER_VERSIONS, "wheel"), (CONFLICT, "conflict"), (BUILD, "build")])
def test_a_connection_that_came_about_at_last_is_not_the_reason(classify, text, kind):
    assert classify(RETRY.format(error=REFUSED) + text).kind == kind


def test_what_is_missing_in_a_folder_is_to_be_added_there(classify):
    assert "Add it to the folder of wheels." in classify(NOTHING_FOUND, offline=True).message


def test_what_pip_said_long_before_is_not_the_reason(classify):
    long_before = RETRY.format(error=REFUSED) + "\nCollecting filelock" * 200
    assert classify(long_before + "\nERROR: Something new").kind == "unknown"
