"""The limited process that reads files which could do harm."""

MOST = 1 << 20  # bytes of a request or an answer
