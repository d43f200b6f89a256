"""Out-of-distribution detection: detectors fitted, calibrated, chosen, compared and explained."""
