"""Agreement of label maps, Dice and normalized surface Dice, of arrays and of files."""
