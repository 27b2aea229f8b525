"""The figures of a report: plain numbers and words in, a `Drawing` out.

Nothing here asks R or knows a data frame. Every function checks that its numbers are finite and
of matching lengths (`ValueError` otherwise), draws on its own canvas 6.5 inches wide, and uses
the palette of Okabe and Ito together with shapes, line styles or direct labels, so that no figure
relies on colour alone.
"""

from mlmreport.report.figures.canvas import Drawing
from mlmreport.report.figures.composition import (
    LevelBox,
    group_sizes,
    icc_bar,
    icc_curve,
    share_bars,
    structure,
)
from mlmreport.report.figures.diagnostics import (
    LinearityPanel,
    QQPanel,
    group_spread,
    influence,
    linearity,
    linearity_panels,
    qq,
    qq_panels,
    residuals_fitted,
)
from mlmreport.report.figures.estimates import (
    caterpillar,
    coefficients,
    predictions,
    shrinkage,
    standard_errors,
    true_values,
)
from mlmreport.report.figures.lines import (
    GrowthPanel,
    Line,
    group_lines,
    growth,
    johnson_neyman,
    simple_slopes,
)

__all__ = [
    "Drawing",
    "GrowthPanel",
    "LevelBox",
    "Line",
    "LinearityPanel",
    "QQPanel",
    "caterpillar",
    "coefficients",
    "group_lines",
    "group_sizes",
    "group_spread",
    "growth",
    "icc_bar",
    "icc_curve",
    "influence",
    "johnson_neyman",
    "linearity",
    "linearity_panels",
    "predictions",
    "qq",
    "qq_panels",
    "residuals_fitted",
    "share_bars",
    "shrinkage",
    "simple_slopes",
    "standard_errors",
    "structure",
    "true_values",
]
