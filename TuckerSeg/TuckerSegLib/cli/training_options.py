"""The options of the sub-commands that train networks."""

from __future__ import annotations

from argparse import ArgumentParser

from ..training.distillation.settings import LEARNING_RATES, RepairSettings
from ..training.finetuning.settings import OPTIMIZERS, PRECISIONS, FineTuningSettings
from ..training.pruning.settings import SCHEDULES, SauronSettings
from ..typed_numbers import real, whole
from .model_options import add_checkpoint, add_model
from .option_groups import add_compression, add_training_place

SAURON = "sauron"  # what --method takes here, beside the methods that compress before the training
FRESH_LEARNING_RATE = 2e-3  # of a narrower network with fresh weights
PRUNED_LEARNING_RATE = 5e-3  # of one that begins with its original's
SAURON_LEARNING_RATE = 1e-3  # of its own schedule
TOKENS = "tokens"  # of --method, which is trained as TokenSparse (arXiv:2303.06522) trains a transformer
TOKENS_LEARNING_RATE = 1.72e-2  # of batches of 256


def repair_options(parser: ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    parser.add_argument(
        "--ct",
        nargs="+",
        required=True,
        metavar="CT",
        help="files or DICOM folders; of several, the last is held back to measure on",
    )
    defaults = RepairSettings
    parser.add_argument("--steps", type=whole, default=defaults.steps, help="about 1 s each (default: %(default)s)")
    parser.add_argument(
        "--learning-rate",
        type=real,
        metavar="RATE",
        help="(default: the highest with which a few steps do no harm, of "
        f"{', '.join(f'{rate:g}' for rate in LEARNING_RATES)})",
    )
    parser.add_argument(
        "--check-every",
        type=whole,
        default=defaults.check_every,
        help="steps between two measurements (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole, default=defaults.seed, help="of crops and voxels (default: %(default)s)")
    parser.add_argument(
        "--progressive",
        nargs="+",
        type=real,
        default=[],
        metavar="RANK",
        help="ranks before the one that is asked for, as 0.7 0.5 with --rank 0.3: each is repaired with all steps, and "
        "the next one decomposes what was learned",
    )
    parser.add_argument(
        "--margin-exponent",
        type=real,
        default=defaults.margin_exponent,
        metavar="E",
        help="voxels count by this power of how sure the original is of them; below 0: of how unsure; 0: all alike "
        "(default: %(default)g)",
    )
    add_training_place(parser)
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the device is faster so"
    )
    add_model(parser, default="demo")
    add_compression(parser)


def distill_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="name from 'tuckerseg models', nnU-Net folder, or .tuckerseg file"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help=".tuckerseg file to write")
    parser.add_argument(
        "--ct",
        nargs="+",
        required=True,
        metavar="CT",
        help="files or DICOM folders, no labels; of several, the last is held back to measure on",
    )
    parser.add_argument(
        "--base", type=whole, required=True, help="features of the first stage, twice as many in the next"
    )
    parser.add_argument("--stages", type=whole, help="of the encoder (default: as many as the model's)")
    parser.add_argument(
        "--start",
        choices=("fresh", "pruned"),
        default="fresh",
        help="fresh weights, or those channels of the original whose loss changes its output least left out "
        "(default: %(default)s)",
    )
    parser.add_argument("--steps", type=whole, default=2000, help="about 1 s each (default: %(default)s)")
    parser.add_argument(
        "--learning-rate",
        type=real,
        help=f"(default: {FRESH_LEARNING_RATE:g}; with --start pruned {PRUNED_LEARNING_RATE:g})",
    )
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default=RepairSettings.optimizer,
        help="muon: momentum, made orthogonal, as a repair has it (default: %(default)s)",
    )
    parser.add_argument(
        "--check-every", type=whole, default=50, help="steps between two measurements (default: %(default)s)"
    )
    parser.add_argument("--seed", type=whole, default=0, help="of weights, crops and voxels (default: %(default)s)")
    add_training_place(parser)
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the device is faster so"
    )
    parser.add_argument("--folds", metavar="0,1", help="folds of the model to learn from (default: the mean of all)")
    add_checkpoint(parser)


def finetune_options(parser: ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="FOLDER",
        help="nnU-Net raw dataset (dataset.json, imagesTr, labelsTr) with the labels of the model",
    )
    defaults = FineTuningSettings
    parser.add_argument("--epochs", type=whole, default=defaults.epochs, help="(default: %(default)s)")
    parser.add_argument(
        "--iterations", type=whole, default=defaults.iterations, help="batches per epoch (default: %(default)s)"
    )
    parser.add_argument(
        "--learning-rate",
        type=real,
        help=f"(default: {defaults.learning_rate:g}; with --schedule polynomial {SAURON_LEARNING_RATE:g}; "
        f"with --method {TOKENS} {TOKENS_LEARNING_RATE:g} times the batch size / 256 at its highest)",
    )
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default=defaults.optimizer,
        help="muon: momentum, made orthogonal, as a repair has it; its steps take longer (default: %(default)s)",
    )
    parser.add_argument(
        "--patch",
        type=whole,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="voxels of the patches; smaller ones take less time and memory (default: the model's)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=defaults.precision,
        dest="trained_precision",  # the other one is that in which a network runs
        help="nnunet: fp32 on a processor, mixed with fp16 on a GPU; bf16: mixed with bf16, on processors that have it "
        "two to three times as fast (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=whole, default=defaults.batch_size, help="patches per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--validation-fraction",
        type=real,
        default=defaults.validation_fraction,
        help="share of the cases that is held back to choose the best epoch (default: %(default)s)",
    )
    parser.add_argument(
        "--validation-iterations",
        type=whole,
        default=defaults.validation_iterations,
        help="batches of held-back patches after every epoch, always the same ones (default: %(default)s)",
    )
    parser.add_argument("--batch-dice", action="store_true", help="where the model's plans say batch_dice: true")
    parser.add_argument(
        "--seed", type=whole, default=defaults.seed, help="of the held-back cases and patches (default: %(default)s)"
    )
    add_training_place(parser)
    add_model(parser, default="demo", of_several=False)  # its --configuration is of --plans
    add_compression(parser)
    _add_transformers(parser)
    _add_sauron(parser)


def _add_transformers(parser: ArgumentParser) -> None:
    """Options of a training of transformers; None where they are not given."""
    group = parser.add_argument_group(
        f"of transformers, whose defaults with --method {TOKENS} are those of TokenSparse"
    )
    for name, kind, words, default in (
        ("layer_decay", real, "share of the next block's learning rate that a block has", 0.75),
        ("weight_decay", real, "of AdamW", 0.05),
        ("drop_path", real, "how often what the last block adds is left out", 0.1),
        ("warm_up", whole, "epochs in which the learning rate rises", "a tenth"),
    ):
        help_words = f"{words} (default with --method {TOKENS}: {default})"
        group.add_argument("--" + name.replace("_", "-"), type=kind, help=help_words)


def _add_sauron(parser: ArgumentParser) -> None:
    """Options of the method that prunes while it trains; None where they are not given."""
    group = parser.add_argument_group(f"with --method {SAURON}, which prunes an original network while it trains")
    defaults = SauronSettings()
    group.add_argument("--from-scratch", action="store_true", help="begin with fresh weights, of the model's structure")
    group.add_argument(
        "--plans",
        metavar="FILE",
        help="nnUNetPlans.json of 'nnUNetv2_plan_and_preprocess', in place of a model; with --from-scratch",
    )
    group.add_argument("--configuration", metavar="NAME", help="of --plans (default: 3d_fullres)")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="constant: AdamW; polynomial: Adam and a falling learning rate, as Sauron was published (default: "
        "constant, with --from-scratch polynomial)",
    )
    for name, kind, words in (
        ("regularization", real, "weight of the regularizer in the loss; 0: none"),
        ("lowest_threshold", real, "that every layer begins with; a trained network need not wait for it to rise"),
        ("highest_threshold", real, "of the distances below which channels go"),
        ("rises", whole, "steps from the lowest threshold to the highest"),
        ("patience", whole, "epochs between two rises of a layer's threshold"),
        (
            "round_tries",
            whole,
            "with --round-loss: proposals per layer, all that are alike, the nearer half and so on",
        ),
        ("settling", whole, "epochs at the end without regularizer, in which no channels go"),
        ("dice_loss", real, "validation Dice that the smaller network that is kept may lack of the best"),
    ):
        option = "--" + name.replace("_", "-")
        group.add_argument(option, type=kind, help=f"{words} (default: {getattr(defaults, name):g})")
    group.add_argument(
        "--compensate",
        action="store_true",
        help="let layers that read a channel make up for its loss by the others that they read",
    )
    group.add_argument(
        "--round-loss",
        type=real,
        metavar="DICE",
        help="what the channels of one epoch may cost on patches of the training cases; layers with which it would be "
        "more keep theirs (default: whatever)",
    )
