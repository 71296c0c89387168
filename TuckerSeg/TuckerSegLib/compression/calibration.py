"""What the convolutions of a network see and what their errors do, gathered on a few patches without labels.

Two second moments per layer say how much an error of its weight matters. The *input moment* is that of what the
weight is multiplied with; the *output moment* is that of the gradients that arrive at the layer's output when random
directions of the logits are pulled at (a Gauss-Newton estimate). For a weight error E of shape (O, I taps),
``trace(output @ E @ input @ E.T)`` is then, to first order, the squared error that it makes in the logits, so errors
of different layers have one unit. The factored form is that of K-FAC (Martens & Grosse 2015, arXiv:1503.05671).

Inputs of layers whose output goes straight into instance normalization are centered per patch: the normalization
takes a constant away again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from ..errors import ModelFileError, SpecError
from ..monitor import Monitor
from .heads import find_head
from .layers import CONVOLUTIONS
from .linear_layers import as_voxels, module_of, weighted_layers
from .magnitudes import BINS, histogram_of
from .normalized_convolutions import NormalizedConvolutions
from .sampling import neighborhoods, sample_positions, tells_taps_apart
from .second_moments import gram, variances, voxel_gram

POSITIONS = 4096  # per patch and layer; over eight patches, nineteen times the width of the widest moment


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """Second moments of one convolution, as calibration estimates them. Float64, on the CPU.

    Attributes:
        inputs: Of what the weight is multiplied with, (I taps, I taps) where taps are told apart, else (I, I).
        outputs: Of the gradients at the output, (O, O).
        variance: Of the output over voxels, mean of the patches, (O,).
        magnitudes: How large the inputs are, see :func:`.magnitudes.histogram_of`, mean of the patches; None of
            calibrations that were made before there were any.
    """

    inputs: Tensor
    outputs: Tensor
    variance: Tensor
    magnitudes: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Moments of all layers of one network.

    Attributes:
        layers: Path of the convolution (the first of its aliases) to its moments.
        logit_energy: Mean over patches of the squared centered logits, summed over classes and voxels: the unit
            that makes errors relative.
        patches: How many patches went into it.
    """

    layers: dict[str, LayerMoments]
    logit_energy: float
    patches: int

    def merged(self, other: Calibration) -> Calibration:
        """The calibration on the patches of this one and of another one of the same network, each patch counting alike.

        Raises:
            SpecError: The other belongs to another network.
        """
        if self.layers.keys() != other.layers.keys():
            raise SpecError("these calibrations belong to different networks")
        total = self.patches + other.patches
        share = self.patches / total

        def mean(first, second):
            return None if first is None or second is None else share * first + (1 - share) * second

        layers = {
            path: LayerMoments(
                *(mean(getattr(own, field.name), getattr(other.layers[path], field.name)) for field in fields(own))
            )
            for path, own in self.layers.items()
        }
        return Calibration(layers, mean(self.logit_energy, other.logit_energy), total)

    @property
    def sha256(self) -> str:
        """SHA-256 over all numbers, as a hexadecimal string; a recipe names its calibration so."""
        digest = hashlib.sha256(f"{self.patches} {self.logit_energy}".encode())
        for name, tensor in sorted(self.to_tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy())
        return digest.hexdigest()

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to contiguous tensors of single precision, ready for a safetensors file."""
        tensors = {
            f"{path}/{field.name}": getattr(layer, field.name).float().contiguous()
            for path, layer in self.layers.items()
            for field in fields(LayerMoments)
            if getattr(layer, field.name) is not None
        }
        tensors["whole"] = torch.tensor([self.logit_energy, self.patches], dtype=torch.float64)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Calibration:
        """Rebuild a calibration from the tensors of :meth:`to_tensors`.

        Raises:
            ModelFileError: A tensor is missing.
        """
        try:
            logit_energy, patches = tensors["whole"].tolist()
            paths = dict.fromkeys(name.rpartition("/")[0] for name in tensors if "/" in name)
            layers = {
                path: LayerMoments(
                    **{name: tensors[f"{path}/{name}"].double() for name in ("inputs", "outputs", "variance")},
                    magnitudes=magnitudes
                    if (magnitudes := tensors.get(f"{path}/magnitudes")) is None
                    else magnitudes.double(),
                )
                for path in paths
            }
        except KeyError as error:
            raise ModelFileError(f"the stored calibration lacks {error}; calibrate again") from error
        return cls(layers, logit_energy, int(patches))

    def rounded(self) -> Calibration:
        """This calibration in single precision, as a file holds it: the same whether calibrated now or read back."""
        return Calibration.from_tensors(self.to_tensors())


def calibrate(
    network: nn.Module,
    patches: Sequence[Tensor],
    seed: int = 0,
    monitor: Monitor | None = None,
    precision: str = "fp32",
    after_patch: Callable[[], None] | None = None,
) -> Calibration:
    """Run patches through a network and gather the moments of every linear layer and convolution, grouped ones aside.

    Needs the memory of a pass with gradients.

    Args:
        network: From (1, C, Z, Y, X) to logits, or a list whose first entry they are. In evaluation mode; not changed.
        patches: (1, C, Z, Y, X) each, normalized as the network wants it.
        seed: Of the sampled positions and the random directions; the same seed gives the same calibration.
        monitor: Hears the fraction of the patches done, and is asked after each whether to stop.
        precision: Of the passes, ``fp32`` or ``bf16``; moments are summed up in fp64.
        after_patch: Called when the memory of a pass is free, as to return it.

    Raises:
        SpecError: There are no patches, or the network gives the same output everywhere on them.
        Cancelled: The monitor said so.
    """
    if not patches:
        raise SpecError("calibration needs at least one patch")
    monitor = monitor or Monitor()
    recorder = _MomentRecorder(network, seed, precision)
    with recorder:
        for number, patch in enumerate(patches, start=1):
            recorder.run(patch)
            if after_patch is not None:
                after_patch()
            monitor.fraction(number / len(patches))
    calibration = recorder.result()
    if not (math.isfinite(calibration.logit_energy) and calibration.logit_energy > 0):
        raise SpecError("the network gives the same output everywhere on these patches; calibrate on another volume")
    return calibration.rounded()


class _MomentRecorder:
    """Hooks on every convolution and linear layer that add up its moments while patches run.

    The last 1x1x1 convolution is left out of the passes: what pulls at its logits pulls at its features in a way
    that is known, and logits of many classes take more memory than all the rest.
    """

    def __init__(self, network: nn.Module, seed: int, precision: str):
        self._network, self._precision = network, precision
        self._head_path = find_head(network)
        self._convs = {path: conv for path, conv in weighted_layers(network).items() if conv.groups == 1}
        self._generator = torch.Generator().manual_seed(seed)
        self._sums: dict[str, LayerMoments] = {}
        self._handles: list = []
        self._inputs: dict[str, Tensor] = {}
        self._energy, self._patches = 0.0, 0

    def __enter__(self) -> _MomentRecorder:
        if self._head_path is not None:
            self._convs[self._head_path].forward = lambda features: features
        for path, conv in self._convs.items():
            self._handles.append(module_of(conv).register_forward_hook(self._forward_hook(path)))
        convs = {path: conv for path, conv in self._convs.items() if isinstance(conv, CONVOLUTIONS)}
        self._normalized = NormalizedConvolutions(self._network, convs)
        return self

    def __exit__(self, *error) -> None:
        self._normalized.close()
        for handle in self._handles:
            handle.remove()
        if self._head_path is not None:
            del self._convs[self._head_path].forward

    def run(self, patch: Tensor) -> None:
        """One pass forward and backward of a patch (1, C, Z, Y, X)."""
        self._inputs.clear()
        with torch.enable_grad():
            with torch.autocast(patch.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                output = self._network(patch.detach().requires_grad_(True))
            last = output[0] if isinstance(output, (list, tuple)) else output
            last.backward(self._pull(last.shape).to(last.dtype))
        with torch.no_grad():
            for path in list(self._inputs):
                self._add_inputs(path)
            self._energy += self._logit_energy(last.detach().float())
        self._patches += 1

    def result(self) -> Calibration:
        """Means over the patches that were run, in the memory of the sums: this ends the recording."""
        names, count = [field.name for field in fields(LayerMoments)], self._patches
        sums = {path: self._sums.pop(path) for path in self._convs if path in self._sums}
        layers = {path: LayerMoments(*(getattr(own, name).div_(count) for name in names)) for path, own in sums.items()}
        return Calibration(layers, self._energy / count, count)

    def _head(self) -> tuple[Tensor, Tensor]:
        """Weight (L, F) and bias (L, 1), less their means: a constant added to all logits changes nothing."""
        conv = self._convs[self._head_path]
        weight = conv.weight.detach().flatten(1)
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        return weight - weight.mean(dim=0), (bias - bias.mean())[:, None]

    def _pull(self, shape: torch.Size) -> Tensor:
        """The gradient that random, independent pulls at all logits leave at the last layer."""
        pulls = torch.randn(shape, generator=self._generator)
        if self._head_path is None:
            return pulls - pulls.mean(dim=1, keepdim=True)
        weight, _ = self._head()
        values, vectors = torch.linalg.eigh(weight.T @ weight)
        return torch.einsum("fg,bg...->bf...", vectors * values.clamp(min=0).sqrt(), pulls)

    def _logit_energy(self, last: Tensor) -> float:
        if self._head_path is None:
            return float((last - last.mean(dim=1, keepdim=True)).square().sum(dtype=torch.float64))
        weight, bias = self._head()
        features = last.transpose(0, 1).flatten(1)
        linear = 2 * (bias.T @ weight) @ features.sum(dim=1, keepdim=True)
        constant = bias.square().sum() * features.shape[1]
        return float(((weight @ (features @ features.T)) * weight).sum() + linear + constant)

    def _forward_hook(self, path: str) -> Callable:
        conv = self._convs[path]
        voxels_of = (lambda values: values) if isinstance(conv, CONVOLUTIONS) else as_voxels

        def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            self._inputs[path] = voxels_of(inputs[0].detach())
            if path == self._head_path:
                voxels, classes = output[0, 0].numel(), conv.out_channels
                centering = torch.eye(classes, dtype=torch.float64) - 1 / classes
                self._add(path, outputs=voxels * centering)
                return
            self._add(path, variance=variances(voxels_of(output.detach())))
            output.register_hook(lambda gradient: self._add_outputs(path, voxels_of(gradient)))

        return record

    def _add_outputs(self, path: str, gradient: Tensor) -> None:
        self._add(path, outputs=voxel_gram(gradient.detach()))

    def _add_inputs(self, path: str) -> None:
        conv, values = self._convs[path], self._inputs.pop(path)
        positions = sample_positions(conv, values, POSITIONS, self._generator)
        samples = neighborhoods(conv, values, positions, taps=tells_taps_apart(conv)).float()
        if path in self._normalized.paths:
            samples -= samples.mean(dim=0)
        self._add(path, inputs=gram(samples.T) / len(samples), magnitudes=histogram_of(values))

    def _add(self, path: str, **values: Tensor) -> None:
        sums = self._sums.get(path)
        if sums is None:
            conv = self._convs[path]
            width = conv.in_channels * (math.prod(conv.kernel_size) if tells_taps_apart(conv) else 1)
            shapes = {"inputs": (width, width), "outputs": (conv.out_channels,) * 2, "variance": (conv.out_channels,)}
            shapes |= {"magnitudes": (conv.in_channels, 2 * BINS)}
            sums = LayerMoments(**{name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()})
            self._sums[path] = sums
        for name, value in values.items():
            getattr(sums, name).add_(value)
