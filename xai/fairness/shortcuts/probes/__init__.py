"""Probes for shortcuts, one file each."""

MODULES = {  # name: the file that registers it
    "background": "background",
    "blur": "blur",
    "border": "border",
    "brightness": "brightness",
    "contrast": "contrast",
    "corner_mark": "corner_mark",
    "jpeg_quality": "jpeg_quality",
    "mark": "mark",
    "moving_mark": "moving_mark",
    "tint": "tint",
    "watermark": "watermark",
}
