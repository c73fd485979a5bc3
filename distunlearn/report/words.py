"""What the report says of each figure: its title and how it was obtained."""

TITLES: dict[str, tuple[str, str]] = {
    "ages": (
        "Ages of each site",
        "After Fig. 2 of the paper: every site's distribution has area one, so that small sites can be seen. Of many sites: 90% of the people between the ends of the line, half of them in the bar, the median its mark. All scans but those of travelling people.",
    ),
    "tsne": (
        "Features, t-SNE",
        "After Fig. 3: the encoder's output for held-out scans, standardised, PCA to at most 50, then t-SNE with a fixed seed. An illustration; the evidence is the probes.",
    ),
    "error_by_age": (
        "Error by age",
        "After Fig. 4: the error of each test scan; the line is the mean of each ten years, the band its standard error.",
    ),
    "calibration": (
        "Calibration",
        "Test scans with the least-squares line of each site; the dashed diagonal is perfect.",
    ),
    "age_bias": (
        "Age bias",
        "Prediction minus age of test scans. A falling line is regression to the mean, which every brain-age model shows; lines that lie apart are a scanner's offset.",
    ),
    "loss/task": ("Task loss", "Mean over steps between two lines of metrics.jsonl."),
    "loss/domain": (
        "Domain loss",
        "Of the head in the loop. High means only that this head is lost; that is no evidence.",
    ),
    "loss/confusion": (
        "Confusion loss",
        "Its least value is ln N, reached when the head in the loop calls every site equally likely.",
    ),
    "validation": (
        "Validation error",
        "Of each site's validation scans, at the end of every epoch.",
    ),
    "looks": (
        "Mean scans and saliency",
        "Middle axial slice, front at the top, of each site's mean test scan, and below it the mean size of the derivative of the prediction by each voxel (units of "
        "the target a standard deviation of intensity) after each stage. Means over the people in brackets, ten or more: no single scan is in this page.",
    ),
    "error_by_site": (
        "Error at each site",
        "Test scans; lines are 95% intervals from resampling people. Dashed: the error of answering everybody with the median of all training targets (for classes, the most frequent one).",
    ),
    "scanner_accuracy": (
        "Can the scanner be told?",
        "Balanced accuracy of the strongest of several fresh probes, 95% interval from resampling people. Bars: the same probes on age with the model's own error. Matched and travelling scans are those on which age cannot help.",
    ),
    "tradeoff": (
        "Error against scanner",
        "Strongest probe minus the same probes on age with the model's own error, against the mean error over sites. Low and left is good.",
    ),
    "travelling": (
        "The same person on two scanners",
        "Mean absolute difference of a travelling person's predictions on two scanners.",
    ),
}
"""By the name of the figure, or its part before the slash."""

LIMITS = (
    "The features are harmonised, not the images: use them for this task; for anything else, train for that.",
    "That these probes cannot tell the scanner does not prove that none could: read the upper end of the interval.",
    "Weights and gradients can reveal who took part in training (membership inference succeeded for 60 to 80% of people in brain-age models: Gupta et al., MIDL 2021). This model is not anonymous.",
    "Sites are compared by their label only; other differences between their people (health, sex, education) count as scanner here.",
)
SIMULATED = "The scans of this run were simulated. Nothing here says anything about real scanners or real brains."


def title_of(name: str) -> tuple[str, str]:
    """Title and caption of a figure, with the stage where its name holds one."""
    if name in TITLES:
        return TITLES[name]
    kind, _, stage = name.partition("/")
    title, caption = TITLES[kind]
    return f"{title}: {stage}", caption
