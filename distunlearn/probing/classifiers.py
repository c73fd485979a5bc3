"""The probes: classifiers that try to tell the scanner, each weighing every site the same whatever its size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Builder = Callable[[int], Any]
"""Number of sites to an unfitted classifier."""


class EvenPrior(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Divides a classifier's probabilities by the sites' shares, for those that cannot weigh the sites themselves."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def fit(self, X: Any, y: Any) -> "EvenPrior":
        """Fit the classifier and remember the shares."""
        self.fitted_ = clone(self.classifier).fit(X, y)
        self.classes_ = self.fitted_.classes_
        self.share_ = np.array([np.mean(y == name) for name in self.classes_])
        return self

    def predict(self, X: Any) -> Any:
        """The site whose probability stands out most from its share."""
        return self.classes_[np.argmax(self.fitted_.predict_proba(X) / self.share_, axis=1)]


class Nearest(KNeighborsClassifier):  # type: ignore[misc]
    """The k nearest, or all where fewer are known: inner folds of a few dozen scans hold less than 25."""

    def fit(self, X: Any, y: Any) -> "Nearest":
        """Remember the scans."""
        self.n_neighbors: int = min(self.n_neighbors, len(X))
        return super().fit(X, y)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Probe:
    """A classifier and the settings that inner folds choose from."""

    build: Builder
    grid: Mapping[str, list[Any]] = field(default_factory=dict)


def _lda(sites: int) -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(sites, 1 / sites))


def _mlp(_: int) -> Any:
    return EvenPrior(MLPClassifier((64,), alpha=1.0, solver="lbfgs", max_iter=200, random_state=0))


def _boosting(_: int) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=5, early_stopping=False, class_weight="balanced", random_state=0
    )


PROBES: dict[str, Probe] = {
    "logistic regression": Probe(
        lambda _: LogisticRegression(max_iter=1000, class_weight="balanced"),
        {"logisticregression__C": [0.003, 0.1, 3.0]},
    ),
    "shrinkage LDA": Probe(_lda),
    "RBF SVM": Probe(lambda _: SVC(class_weight="balanced"), {"svc__C": [1.0, 30.0], "svc__gamma": ["scale", 0.003]}),
    "k nearest": Probe(lambda _: EvenPrior(Nearest()), {"evenprior__classifier__n_neighbors": [5, 25]}),
    "gradient boosting": Probe(_boosting),
    "MLP": Probe(_mlp, {"evenprior__classifier__alpha": [0.1, 10.0]}),
}
QUICK: dict[str, Probe] = {
    "logistic regression": Probe(lambda _: LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")),
    "shrinkage LDA": Probe(_lda),
    "RBF SVM": Probe(lambda _: SVC(class_weight="balanced")),
}
"""Fewer probes, without settings to choose."""


def pipeline(probe: Probe, sites: int) -> Any:
    """The unfitted probe, standardising the features by what it is fitted on."""
    return make_pipeline(StandardScaler(), probe.build(sites))
