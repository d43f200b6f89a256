"""The limited process that reads files which could do harm."""
