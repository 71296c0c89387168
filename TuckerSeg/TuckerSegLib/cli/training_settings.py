"""What the options of ``finetune`` ask for."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import SpecError
from ..training.finetuning.settings import FineTuningSettings
from ..training.pruning.settings import SauronSettings
from .training_options import SAURON, SAURON_LEARNING_RATE, TOKENS, TOKENS_LEARNING_RATE

TOKENS_TRAINING = {"weight_decay": 0.05, "second_beta": 0.95, "layer_decay": 0.75, "drop_path": 0.1}
TOKENS_WARM_UP = 0.1  # of the epochs
_LADDER = ("lowest_threshold", "highest_threshold", "rises", "patience", "settling", "dice_loss")
_ROUNDS = ("compensate", "round_loss", "round_tries")
_OF_SAURON = ("schedule", "regularization", *_LADDER, *_ROUNDS)
_OF_START = ("from_scratch", "plans", "configuration")


def training_settings(options: argparse.Namespace) -> FineTuningSettings:
    """How the options want a network trained."""
    rate = SAURON_LEARNING_RATE if _schedule(options) == "polynomial" else FineTuningSettings.learning_rate
    own: dict[str, Any] = {}
    if any(step.partition(":")[0] == TOKENS for step in (options.method or "").split(",")):
        rate = TOKENS_LEARNING_RATE * options.batch_size / 256
        own = {**TOKENS_TRAINING, "schedule": "cosine", "warm_up": round(TOKENS_WARM_UP * options.epochs)}
    typed = {name: getattr(options, name) for name in ("layer_decay", "weight_decay", "drop_path", "warm_up")}
    own |= {name: value for name, value in typed.items() if value is not None}
    return FineTuningSettings(
        epochs=options.epochs,
        iterations=options.iterations,
        learning_rate=rate if options.learning_rate is None else options.learning_rate,
        batch_size=options.batch_size,
        validation_fraction=options.validation_fraction,
        batch_dice=options.batch_dice,
        seed=options.seed,
        validation_iterations=options.validation_iterations,
        patch_shape=None if options.patch is None else tuple(options.patch),
        precision=options.trained_precision,
        optimizer=options.optimizer,
        **own,
    )


def sauron_settings(options: argparse.Namespace) -> SauronSettings | None:
    """How the options want a network pruned while it trains; None where they do not.

    Raises:
        SpecError: Options that go with that alone are given without it, or contradict each other.
    """
    given = [name for name in (*_OF_SAURON, *_OF_START) if getattr(options, name) not in (None, False)]
    if options.method != SAURON:
        if given:
            raise SpecError(
                f"--{given[0].replace('_', '-')} goes with --method {SAURON}; found --method {options.method}."
            )
        return None
    if options.plans is not None and not options.from_scratch:
        raise SpecError("--plans names a network without weights; expected --from-scratch beside it.")
    if options.configuration is not None and options.plans is None:
        raise SpecError("--configuration is one of --plans; expected --plans beside it.")
    own = {name: getattr(options, name) for name in _OF_SAURON if getattr(options, name) is not None}
    return SauronSettings(**{**own, "schedule": _schedule(options), "training": training_settings(options)})


def _schedule(options: argparse.Namespace) -> str:
    return options.schedule or ("polynomial" if options.from_scratch else "constant")
