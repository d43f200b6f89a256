"""Known figures made again: small networks that know the digits 0 to 4, tried on 5 to 9, noise and negatives."""

TOLERANCE = 0.01
SEEDS = 5
_SETS = ("digits 5-9", "noise", "inverted")
