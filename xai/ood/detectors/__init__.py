"""Out-of-distribution scores, one file each."""

MODULES = {  # name: the file that registers it
    "ash": "ash",
    "energy": "energy",
    "fdbd": "fdbd",
    "gen": "gen",
    "hbos": "hbos",
    "knn": "knn",
    "mahalanobis": "mahalanobis",
    "mahalanobis++": "mahalanobis_plus_plus",
    "maxlogit": "maxlogit",
    "msp": "msp",
    "odin": "odin",
    "react": "react",
    "rmd": "rmd",
    "scale": "scale",
    "vim": "vim",
}
