from .TuckerSegRunner import TuckerSegRunner as TuckerSegRunner
