"""What each sub-command of ``tuckerseg`` does with its options: one module per sub-command, named like it."""
