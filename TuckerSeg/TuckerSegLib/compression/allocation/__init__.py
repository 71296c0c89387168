"""Every means of compression in one allocation: each layer gets what costs the least error for what it saves."""
