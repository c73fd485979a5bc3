"""How much it helps to know the site when age is told from an image: what unlearning the site must cost, at the least.

Images are left out: what a network sees of a person's age is the age and a normal error. The best answer is the mean of
the ages that are possible then, weighed by how common they are among the site's people (knowing the site) or among those
of all sites in equal shares (not knowing it). Ages are those of `distunlearn simulate`.

    python benchmarks/site_prior.py --hospitals 8 --seed 60
"""

import argparse
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from distunlearn.simulate.cohort import SITES, site_of

GRID = np.arange(15.0, 100.0, 0.25)
"""Ages in years."""
Ages = Float[np.ndarray, " people"]


def ages_of(names: list[str], seed: int, people: int) -> dict[str, Ages]:
    """Ages of as many people of each site."""
    random = np.random.default_rng(seed)
    return {name: np.array([site_of(name, seed).age(random) for _ in range(people)]) for name in names}


def error(ages: Mapping[str, Ages], scatter: float, *, knows_site: bool) -> float:
    """Mean absolute error of the best answers in years, mean over sites; `scatter`: SD of what is seen of an age."""
    edges = np.append(GRID - 0.125, GRID[-1] + 0.125)
    common = {name: np.histogram(own, edges)[0] / len(own) for name, own in ages.items()}
    everywhere = sum(common.values()) / len(common)
    random = np.random.default_rng(1)
    errors = []
    for name, own in ages.items():
        seen = own + scatter * random.standard_normal(len(own))
        likely = np.exp(-((seen[:, None] - GRID) ** 2) / (2 * scatter**2)) * (
            common[name] if knows_site else everywhere
        )
        answer = likely @ GRID / likely.sum(axis=1)
        errors.append(np.abs(answer - own).mean())
    return float(np.mean(errors))


def main() -> None:
    """Print a line for each scatter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--hospitals", type=int, default=0, help="hospitals of the study of --seed; 0: the paper's three sites"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=2000, help="of each site")
    given = parser.parse_args()
    names = [f"hospital-{number:02d}" for number in range(1, given.hospitals + 1)] or list(SITES)
    ages = ages_of(names, given.seed, given.people)
    print("scatter, years | error knowing the site | not knowing it | more, %")
    for scatter in (3.0, 4.5, 6.0):
        knowing, blind = (error(ages, scatter, knows_site=knows) for knows in (True, False))
        print(f"{scatter} | {knowing:.2f} | {blind:.2f} | {100 * (blind / knowing - 1):+.1f}")


if __name__ == "__main__":
    main()
