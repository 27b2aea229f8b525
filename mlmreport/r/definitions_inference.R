# Definitions for steps 7 and 8: what effects mean, and what follows for groups.

# --- standardised effects -------------------------------------------------------------------------

# Pooled SD of x within groups: sqrt(sum (x - group mean)^2 / (n - J)).
within_sd <- function(x, g) sqrt(sum((x - ave(x, g))^2) / (length(x) - length(unique(g))))

# SD of a higher-level variable over its own units, each counted once.
between_sd <- function(x, g) sd(per_group(x, g))

# --- group means in a column of their own ---------------------------------------------------------

# Half the range over groups of what a column lies off the group means of x: 0 where it is these
# means, whatever constant was added.
mean_mismatch <- function(column, x, group) {
  diff(range(per_group(column, group) - raw_means(x, group))) / 2
}

# Half a unit of the last decimal, of eight at most, that a column is given to.
half_decimal <- function(x) {
  for (digits in 0:8) {
    scaled <- x * 10^digits
    if (all(abs(scaled - round(scaled)) < 1e-5)) break
  }
  0.5 * 10^-digits
}

# --- slopes of curves -----------------------------------------------------------------------------

# Weights of the derivative of the expected outcome by x at a row of values: the five-point central
# difference (Abramowitz & Stegun, 1964, eq. 25.3.6), exact for polynomials of degree four.
derivative_weights <- function(m, row, x, h) {
  at <- fixed_rows(m, with_list(row, x, row[[x]] + c(-2, -1, 1, 2) * h))
  (at[1L, ] - 8 * at[2L, ] + 8 * at[3L, ] - at[4L, ]) / (12 * h)
}

# Weights of the slope of x averaged over the rows of the data, all other variables as they are; for
# a category the difference that it makes to the reference, averaged likewise. The step of the
# difference is a thousandth of the range of x.
average_slope_weights <- function(m, data, x) {
  h <- diff(range(data[[x]])) / 1000
  at <- lapply(c(-2, -1, 1, 2), function(k) {
    data[[x]] <- data[[x]] + k * h
    colMeans(fixed_rows(m, data))
  })
  (at[[1L]] - 8 * at[[2L]] + 8 * at[[3L]] - at[[4L]]) / (12 * h)
}
average_difference_weights <- function(m, data, x, category) {
  at <- lapply(c(category, levels(data[[x]])[1L]), function(value) {
    data[[x]] <- factor(rep(value, nrow(data)), levels(data[[x]]))
    colMeans(fixed_rows(m, data))
  })
  at[[1L]] - at[[2L]]
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

# Correlation of a slope with the intercepts that the groups would have, were the zero of its predictor
# at another value: of b1 and b0 + at b1, with the variances and covariance of the two.
correlation_at <- function(m, block, effect, at) {
  t00 <- component(m, block, "(Intercept)")
  t01 <- component(m, block, "(Intercept)", effect)
  t11 <- component(m, block, effect)
  there <- t00 + 2 * at * t01 + at^2 * t11
  if (t11 <= 0 || there <= 1e-10 * (t00 + at^2 * t11)) {
    undefined("a variance is zero at that value of the predictor")
  }
  (t01 + at * t11) / sqrt(there * t11)
}

# --- random slopes --------------------------------------------------------------------------------

# Reliability of each group's own least-squares slope (Raudenbush & Bryk, 2002, eq. 3.58):
# tau_qq / (tau_qq + sigma2 [(Z_j'Z_j)^-1]_qq), NA for a group whose own data do not determine it.
slope_reliability <- function(m, block, effect) {
  k <- match(block, names(VarCorr(m)))
  group <- block_groups(m)[k]
  z <- do.call(cbind, unname(getME(m, "mmList")[block_groups(m) == group]))
  z <- z[, !duplicated(colnames(z)), drop = FALSE] * row_scale(m)
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
  apart <- findInterval(lower, sort(upper), left.open = TRUE)
  1 - sum(apart) / choose(length(lower), 2)
}

# Draws of the groups' ranks by their expected outcome, each at its own row of values, 1 = highest,
# from the normal distribution of the conditional modes with the fixed effects as they are estimated
# (Goldstein & Spiegelhalter, 1996): one row a group, one column a draw.
rank_draws <- function(m, group, rows, draws) {
  centre <- group_values_at(m, group, rows)
  noise <- matrix(rnorm(length(centre) * draws), length(centre))
  ranks <- apply(-(centre + value_sd(m, group, rows) * noise), 2L, rank)
  rownames(ranks) <- levels(getME(m, "flist")[[group]])
  ranks
}

# Conditional standard deviation of what a group's random effects add up to at its row of values:
# `joint_variance` with the fixed effects known, one group a column.
value_sd <- function(m, group, rows) {
  at <- random_positions(m)[[group]]
  weights <- Matrix::sparseMatrix(
    i = unlist(at), j = rep(seq_len(nrow(rows)), length(at)),
    x = as.vector(effects_at(m, rows, names(at))), dims = c(length(getME(m, "b")), nrow(rows))
  )
  l <- getME(m, "L")
  moved <- solve(l, solve(l, getME(m, "Lambdat") %*% weights, system = "P"), system = "L")
  sigma(m) * sqrt(Matrix::colSums(moved^2))
}

# Share of a group's own deviation that its data determine, 1 - var(u | y) / tau: the weight of its
# own mean where the model has random intercepts of one grouping alone, tau / (tau + sigma2 / n).
mode_reliability <- function(m, group) {
  tau <- component(m, intercept_block(m, group), "(Intercept)")
  as.vector(1 - mode_sd(m, group, "(Intercept)")^2 / tau)
}

# Group means of a null model, each with the modes of the higher units that the group lies in.
null_means <- function(m, group) {
  flist <- getME(m, "flist")
  first <- match(levels(flist[[group]]), flist[[group]])
  around <- names(flist)[vapply(flist, function(f) is_nested(flist[[group]], f), FALSE)]
  fixef(m)[["(Intercept)"]] + Reduce(`+`, lapply(around, function(g) {
    ranef(m, condVar = FALSE)[[g]][as.character(flist[[g]][first]), "(Intercept)"]
  }))
}

# --- predictions for groups -----------------------------------------------------------------------

# Standard errors of one effect's conditional modes, SD of b-hat - b with the uncertainty of the fixed
# effects (`joint_variance` with no fixed part), for at most `most` groups: with few groups it is
# much of the whole. lme4's own (`mode_sd`) take the fixed effects as known. With `drift`, that of the
# estimated variances is added to the first order, as in `prediction`.
mode_errors_joint <- function(m, group, effect, drift = NULL, most = 3000) {
  at <- random_positions(m)[[group]][[effect]]
  if (length(at) > most) undefined("it is not computed for more than ", most, " groups")
  picked <- Matrix::sparseMatrix(
    i = at, j = seq_along(at), x = 1, dims = c(length(getME(m, "b")), length(at))
  )
  fixed <- matrix(0, length(fixef(m)), length(at))
  if (is.null(drift)) {
    return(sqrt(joint_variance(solved_equations(m), fixed, picked)))
  }
  moved <- drift$gradient[length(fixef(m)) + at, , drop = FALSE]
  known <- joint_variance(drift$equations, fixed, picked)
  sqrt(known + rowSums((moved %*% drift$covariance) * moved))
}

# Variance of fixed' (beta-hat - beta) + random' (b-hat - b), a column each, with the variances known:
# the inverse of Henderson's mixed-model equations, sigma2 [X'X X'ZL; L'Z'X L'Z'ZL + I]^-1 (Henderson,
# 1975), by lme4's own sparse Cholesky factor of them.
joint_variance <- function(equations, fixed, random) {
  of_random <- solve(
    equations$l, solve(equations$l, equations$lambdat %*% random, system = "P"), system = "L"
  )
  rest <- fixed - as.matrix(Matrix::crossprod(equations$rzx, of_random))
  of_fixed <- backsolve(equations$rx, rest, transpose = TRUE)
  unname(equations$sigma^2 * (Matrix::colSums(of_random^2) + colSums(of_fixed^2)))
}

# The factors of the mixed-model equations of a fitted model.
solved_equations <- function(m) {
  list(
    l = getME(m, "L"), lambdat = getME(m, "Lambdat"), rzx = getME(m, "RZX"), rx = getME(m, "RX"),
    sigma = sigma(m)
  )
}

# How far (beta-hat, b-hat) move with the variance parameters theta, the covariance matrix of
# theta-hat, and the mixed-model equations, all at theta+, where the likelihood times the product of
# the diagonal elements of theta is greatest (Chung, Rabe-Hesketh, Dorie, Gelman & Liu, 2013; for
# several random effects Chung et al., 2015). There no variance is zero: at an estimate of zero the
# groups would have no uncertainty at all, and near it the likelihood is no parabola. The derivatives
# are central differences; the covariance is 2 times the inverse Hessian of the penalised criterion.
variance_drift <- function(m, h = 1e-3) {
  if (min(vapply(getME(m, "flist"), nlevels, 0L)) < 3L) {
    undefined("it takes three units of a grouping at least")
  }
  criterion <- deviance_function(m)
  inner <- environment(criterion)
  diagonal <- getME(m, "lower") == 0
  penalised <- function(theta) criterion(theta) - 2 * sum(log(theta[diagonal]))
  start <- getME(m, "theta")
  start[diagonal] <- pmax(start[diagonal], 0.05)
  found <- nlminb(start, penalised, lower = ifelse(diagonal, 1e-4, -Inf))
  steps <- function(theta) ifelse(diagonal, pmin(h, theta / 4), h)
  theta <- if (found$convergence == 0) found$par else newton_minimum(penalised, found$par, steps)
  if (is.null(theta)) {
    undefined("the penalised likelihood of the variances has no maximum that could be found")
  }
  k <- length(theta)
  h <- steps(theta)
  hessian <- central_hessian(penalised, theta, h)
  flat <- any(eigen(hessian, symmetric = TRUE, only.values = TRUE)$values <= 0)
  # Where hardly more than one group is free, as beside predictors of the groups, there is no maximum.
  if (flat || any(sqrt(2 * diag(solve(hessian)))[diagonal] > 3 * theta[diagonal])) {
    undefined("the likelihood is too flat in the variance parameters")
  }
  solution <- function(at) {
    criterion(at)
    c(inner$pp$beta(1), inner$pp$b(1))
  }
  gradient <- vapply(seq_len(k), function(i) {
    step <- h * (seq_len(k) == i)
    (solution(theta + step) - solution(theta - step)) / (2 * h[i])
  }, numeric(length(fixef(m)) + length(getME(m, "b"))))
  criterion(theta)
  df <- nobs(m) - if (isREML(m)) length(fixef(m)) else 0
  list(
    theta = theta, gradient = gradient, covariance = 2 * solve(hessian),
    equations = list(
      l = inner$pp$L(), lambdat = inner$pp$Lambdat, rzx = inner$pp$RZX, rx = inner$pp$RX(),
      sigma = sqrt((inner$resp$wrss() + inner$pp$sqrL(1)) / df)
    )
  )
}

# The minimum of f near x by Newton's steps (Nocedal & Wright, 2006, ch. 3), of which the last would lower
# f by less than `least`; NULL where they do not lead to one. A criterion of very many rows is large
# beside its differences: to the tests of nlminb it does not fall any more some way from the minimum.
# `steps` gives those of the differences.
newton_minimum <- function(f, x, steps, least = 1e-6, most = 5L) {
  for (i in seq_len(most)) {
    h <- steps(x)
    if (any(h <= 0)) break
    gradient <- as.vector(central_gradient(function(at) f(at[1L, ]), rbind(x), min(h)))
    step <- tryCatch(solve(central_hessian(f, x, h), gradient), error = function(e) NA_real_)
    gain <- sum(gradient * step) / 2
    if (!is.finite(gain) || gain < 0) break
    if (gain < least) {
      return(x)
    }
    x <- x - step
  }
  NULL
}

# Expected outcome at a row of values in the named `units` (grouping = unit), all other groupings at
# their average. `known`: SE of the prediction with the variances known, of fixed effects and
# conditional modes jointly; `se`: where `drift` is given, the same at its variances, which are not
# zero, and with the uncertainty of the estimated variances added to the first order (Kackar &
# Harville, 1984; Kass & Steffey, 1989). Of the groupings in `new` a unit is drawn at random, which
# adds its variance to both; `residual` adds that of a single observation.
prediction <- function(m, row, units, drift = NULL, new = character(), residual = FALSE) {
  x <- fixed_rows(m, row)
  z <- random_weights(m, x, row, units)
  whole <- function(equations) {
    joint_variance(equations, t(x), cbind(z)) + sum(drawn_variances(m, equations, x, row, new, residual))
  }
  known <- whole(solved_equations(m))
  se <- if (is.null(drift)) {
    known
  } else {
    moved <- crossprod(drift$gradient, c(x, z))
    whole(drift$equations) + sum(moved * (drift$covariance %*% moved))
  }
  c(
    estimate = sum(x * fixef(m)) + offset_at(m, row) + sum(z * getME(m, "b")),
    known = sqrt(known),
    se = sqrt(se)
  )
}

# Degrees of freedom of the variance with which something drawn anew is predicted (`prediction`
# without named units): Welch's and Satterthwaite's (1946) of a sum, J - 2 for the variance of a
# grouping of J units, as for the interval of a new study among J (Higgins, Thompson & Spiegelhalter,
# 2009), that of the fixed part with the grouping of the fewest, and n - J - p of the residuals.
predictive_df <- function(m, row, new, residual = FALSE, drift = NULL) {
  equations <- if (is.null(drift)) solved_equations(m) else drift$equations
  x <- fixed_rows(m, row)
  units <- vapply(getME(m, "flist")[new], nlevels, 0L)
  if (any(units < 3L)) undefined("it takes three units of a grouping at least")
  parts <- drawn_variances(m, equations, x, row, new, residual)
  df <- c(units - 2, if (residual) max(1, nobs(m) - sum(units) - ncol(x)))
  least <- which.min(units)
  parts[least] <- parts[least] + joint_variance(equations, t(x), matrix(0, length(getME(m, "b"))))
  sum(parts)^2 / sum(parts^2 / df)
}

# Variances at a row of values of what is drawn anew: of a unit of each grouping in `new`, and of a
# single observation.
drawn_variances <- function(m, equations, x, row, new, residual) {
  of_units <- vapply(new, function(g) {
    first <- levels(getME(m, "flist")[[g]])[1L]
    z <- random_weights(m, x, row, stats::setNames(list(first), g))
    equations$sigma^2 * sum((equations$lambdat %*% z)^2)
  }, 0)
  c(of_units, if (residual) residual_variance(m) * (equations$sigma / sigma(m))^2)
}

# What each element of b is multiplied by in the named units.
random_weights <- function(m, x, row, units) {
  at <- random_positions(m)
  weights <- numeric(length(getME(m, "b")))
  for (g in names(units)) {
    k <- match(units[[g]], levels(getME(m, "flist")[[g]]))
    for (effect in names(at[[g]])) {
      weights[at[[g]][[effect]][k]] <- effect_value(effect, x, row, m)
    }
  }
  weights
}

# A unit and the units of higher groupings that all its rows lie in, by grouping.
units_around <- function(m, group, unit) {
  flist <- getME(m, "flist")
  rows <- flist[[group]] == unit
  around <- vapply(flist, function(f) is_nested(flist[[group]], f), FALSE)
  lapply(flist[around], function(f) as.character(f[rows][1L]))
}

# --- transformed outcomes -------------------------------------------------------------------------

# From the scale of the model to that of the outcome. A median goes over as it is. The mean takes the
# variance around the expected value with it: exp(mu + v / 2) for a logarithm, mu^2 + v for a square
# root, of a normal distribution (Aitchison & Brown, 1957; E[y^2] = mu^2 + v).
back_median <- function(mu, transform) {
  switch(transform,
    log = exp(mu), log2 = 2^mu, log10 = 10^mu, log1p = expm1(mu), sqrt = max(0, mu)^2
  )
}
back_mean <- function(mu, v, transform) {
  switch(transform,
    log = exp(mu + v / 2), log1p = expm1(mu + v / 2), sqrt = mu^2 + v,
    log2 = exp(log(2) * mu + log(2)^2 * v / 2), log10 = exp(log(10) * mu + log(10)^2 * v / 2)
  )
}
