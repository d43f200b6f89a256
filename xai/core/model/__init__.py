"""The classifier: settings, forward pass, logits, features, hooks, objective, fingerprint."""
