"""Which packages a Python has, found by importing them."""
