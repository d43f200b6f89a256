"""The embeddings of pictures: directions of largest variance, means of classes, clusters."""

import numpy as np

from xai.fairness.slices_facts import NEAREST

_DIMENSIONS = 32
_PICTURES_PER_CLUSTER, _CLUSTERS = 100, (4, 48)


class Space:
    """What is learned from the embeddings of one half.

    Args:
        features: (n, D).
        labels: (n,) the truth.
        seed: of the clustering.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        self._empty = not np.ptp(features, axis=0).any()  # all images look alike to the model: there are no places
        if self._empty:
            return
        count = min(_DIMENSIONS, features.shape[1], len(features) - 1)
        self._axes = PCA(count, random_state=seed % (1 << 32)).fit(features)
        placed = self._axes.transform(features)
        self._labels = np.unique(labels)
        self._means = np.stack([placed[labels == label].mean(0) for label in self._labels])
        fine = int(np.clip(len(features) // _PICTURES_PER_CLUSTER, *_CLUSTERS))
        self._clusters = {
            f"cluster of {number}": KMeans(number, n_init=1, random_state=seed % (1 << 32)).fit(placed)
            for number in sorted({fine, max(2, fine // 4)})
        }

    def codes(self, features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the nearest other class and the clusters of pictures, by name, (n,) int64 each."""
        if self._empty:
            return {}
        placed = self._axes.transform(features)
        square = (self._means**2).sum(1) - 2 * placed @ self._means.T
        square[self._labels == labels[:, None]] = np.inf
        nearest = {NEAREST: self._labels[square.argmin(1)]} if len(self._labels) > 1 else {}
        return nearest | {name: model.predict(placed).astype(np.int64) for name, model in self._clusters.items()}
