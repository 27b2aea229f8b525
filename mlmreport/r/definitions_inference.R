# Definitions for steps 7 and 8: what effects mean, and what follows for groups.

# --- standardised effects -------------------------------------------------------------------------

# Pooled SD of x within groups: sqrt(sum (x - group mean)^2 / (n - J)).
within_sd <- function(x, g) sqrt(sum((x - ave(x, g))^2) / (length(x) - length(unique(g))))

# SD of a higher-level variable over its own units, each counted once.
between_sd <- function(x, g) sd(per_group(x, g))

# --- slopes of curves -----------------------------------------------------------------------------

# Weights of the derivative of the expected outcome by x at a row of values: the five-point central
# difference (Abramowitz & Stegun, 1964, eq. 25.3.6), exact for polynomials of degree four.
derivative_weights <- function(m, row, x, h) {
  at <- fixed_rows(m, with_list(row, x, row[[x]] + c(-2, -1, 1, 2) * h))
  (at[1L, ] - 8 * at[2L, ] + 8 * at[3L, ] - at[4L, ]) / (12 * h)
}

# --- Johnson-Neyman -------------------------------------------------------------------------------

# What the simple slope of x depends on along a moderator z, at a row of values with z = 0: b + c z
# and the variances and covariance of the two (Bauer & Curran, 2005, eq. 5).
slope_parts <- function(m, row, x, product) {
  w <- slope_weights(m, row, x)
  c(
    b = sum(w * fixef(m)), c = fixef(m)[[product]], vb = variance_of(m, w),
    vbc = sum(w * vcov(m)[, product]), vc = vcov(m)[product, product]
  )
}

# The simple slope and its pointwise limits over z.
slope_curve <- function(parts, z, quantile) {
  slope <- parts[["b"]] + parts[["c"]] * z
  se <- sqrt(parts[["vb"]] + 2 * z * parts[["vbc"]] + z^2 * parts[["vc"]])
  cbind(slope = slope, lower = slope - quantile * se, upper = slope + quantile * se)
}

# --- random slopes --------------------------------------------------------------------------------

# Reliability of each group's own least-squares slope (Raudenbush & Bryk, 2002, eq. 3.58):
# tau_qq / (tau_qq + sigma2 [(Z_j'Z_j)^-1]_qq), NA for a group whose own data do not determine it.
slope_reliability <- function(m, block, effect) {
  k <- match(block, names(VarCorr(m)))
  group <- block_groups(m)[k]
  z <- do.call(cbind, unname(getME(m, "mmList")[block_groups(m) == group]))
  z <- z[, !duplicated(colnames(z)), drop = FALSE]
  noise <- vapply(split(seq_len(nrow(z)), getME(m, "flist")[[group]]), function(rows) {
    decomposed <- qr(z[rows, , drop = FALSE])
    if (decomposed$rank < ncol(z)) {
      return(NA_real_)
    }
    q <- match(effect, colnames(z))
    # The inverse stands in the order of the pivots.
    sigma(m)^2 * diag(chol2inv(qr.R(decomposed)))[match(q, decomposed$pivot)]
  }, 0)
  tau <- component(m, block, effect)
  as.vector(tau / (tau + noise))
}

# --- groups ---------------------------------------------------------------------------------------

# Half-width, in standard errors, of intervals that overlap when two groups of equal and independent
# standard errors do not differ at the level: z / sqrt(2), 1.39 at 95 % (Goldstein & Healy, 1995).
comparison_factor <- function(level) qnorm(1 - (1 - level) / 2) / sqrt(2)

# Share of the pairs of groups whose intervals overlap.
overlapping_pairs <- function(lower, upper) {
  apart <- outer(lower, upper, ">")
  1 - sum(apart) / choose(length(lower), 2)
}

# Draws of the groups' ranks, 1 = highest, from the normal distribution of each group's mode with
# its conditional variance (Goldstein & Spiegelhalter, 1996): one row a group, one column a draw.
rank_draws <- function(m, group, effect, draws) {
  modes <- ranef(m, condVar = FALSE)[[group]]
  centre <- modes[[effect]]
  noise <- matrix(rnorm(length(centre) * draws), length(centre))
  ranks <- apply(-(centre + mode_sd(m, group, effect) * noise), 2L, rank)
  rownames(ranks) <- rownames(modes)
  ranks
}
