from .CtUtilityRunner import CtUtilityRunner as CtUtilityRunner
