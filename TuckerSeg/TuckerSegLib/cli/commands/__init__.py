"""What each sub-command of ``tuckerseg`` does with its arguments: one function per sub-command, named like it."""
