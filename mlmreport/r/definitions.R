# Statistics that no single call of a package gives, each with its source.
#
# The file goes word for word into every reproduce.R, so it uses lme4, lmerTest and base R only, and
# nothing of the recorder.

# A statistic that is not defined for a model or its data, and why in words for a reader.
undefined <- function(...) {
  stop(structure(
    class = c("undefined", "error", "condition"), list(message = paste0(...), call = NULL)
  ))
}

# A name as it stands in a formula and in lme4's coefficient names, and the other way round.
formula_name <- function(x) ifelse(x == make.names(x), x, paste0("`", x, "`"))
plain_name <- function(x) sub("^`(.*)`$", "\\1", x)

# --- versions of lme4 -----------------------------------------------------------------------------

# From 1.1-38 on lme4 has its functions on formulas from the package reformulas, and warns where its own
# are called; and confint() has signames for oldNames.
since_reformulas <- function() utils::packageVersion("lme4") >= "1.1.38"

of_formulas <- function(name) getExportedValue(if (since_reformulas()) "reformulas" else "lme4", name)
find_bars <- function(term) of_formulas("findbars")(term)
without_bars <- function(term) of_formulas("nobars")(term)
bars_as_sums <- function(term) of_formulas("subbars")(term)
single_bars <- function(term) of_formulas("expandDoubleVerts")(term)
is_nested <- function(inner, outer) of_formulas("isNested")(inner, outer)

# Profile limits by confint() of lme4, a row a parameter, named as "sd_(Intercept)|group".
confint_profile <- function(m, parm, level = 0.95) {
  call <- quote(confint(m, parm = parm, level = level, method = "profile", quiet = TRUE))
  if (missing(parm)) call$parm <- NULL
  call[[if (since_reformulas()) "signames" else "oldNames"]] <- FALSE
  eval(call)
}

# --- structure ------------------------------------------------------------------------------------

# Rows per group, in the order of the levels.
group_sizes <- function(g) as.vector(table(g))

# Coefficient of variation with the n - 1 standard deviation; 0 for equal sizes.
variation <- function(x) if (length(x) > 1) sd(x) / mean(x) else 0

# Values of x, one a group.
per_group <- function(x, g) as.vector(tapply(as.numeric(x), g, function(v) v[1L]))

# --- components of a model ------------------------------------------------------------------------

# A variance or covariance of the random effects; `block` is the position in VarCorr().
component <- function(m, block, i, j = i) {
  v <- VarCorr(m)[[block]]
  if (is_zero(m, v, block, i) || is_zero(m, v, block, j)) 0 else v[i, j]
}

# Whether a variance is zero but for the place where an optimizer stopped next to its boundary: an effect
# whose SD, times the root mean square of its column, is below a millionth of the residual SD. The
# criterion is even in the SD, so that it differs from that at zero by less than its rounding.
is_zero <- function(m, v, block, i) {
  v[i, i] < 1e-12 * sigma(m)^2 &&
    v[i, i] * mean(getME(m, "mmList")[[match(block, names(VarCorr(m)))]][, i]^2) < 1e-12 * sigma(m)^2
}

# The grouping of each block of VarCorr(), whose own names are made unique by a number.
block_groups <- function(m) {
  flist <- getME(m, "flist")
  names(flist)[attr(flist, "assign")]
}

# The block that holds the random intercepts of a grouping; empty where there is none.
intercept_block <- function(m, group) {
  has <- vapply(VarCorr(m), function(v) "(Intercept)" %in% rownames(v), FALSE)
  c(names(VarCorr(m))[has & block_groups(m) == group], "")[1L]
}

# Square roots of the prior weights, 1 without weights. The error of row i has the variance
# sigma2 / w_i (Bates et al., 2015): rows times the root of their weight have errors of variance
# sigma2, and X, Z and y in the formulas below are such rows.
row_scale <- function(m) sqrt(as.vector(weights(m)))

# Lambda' Z' and X with the rows scaled, and the scaled outcome without the model's offset.
scaled_random <- function(m) {
  getME(m, "Lambdat") %*% getME(m, "Zt") %*% Matrix::Diagonal(x = row_scale(m))
}
scaled_fixed <- function(m) getME(m, "X") * row_scale(m)
scaled_outcome <- function(m) (getME(m, "y") - getME(m, "offset")) * row_scale(m)

# Mean over the rows of the residual variance sigma2 / w_i; sigma2 without weights. Unlike sigma2
# it does not change when all weights are multiplied by a number.
residual_variance <- function(m) sigma(m)^2 * mean(1 / weights(m))

# Sum of the prior weights of each group: what takes the place of its size.
group_weights <- function(m, g) as.vector(tapply(weights(m), g, sum))

# Largest scaled gradient at the optimum, as lme4's own convergence check has it: of each element
# the smaller of the gradient and the gradient scaled by the Cholesky factor of the Hessian.
scaled_gradient <- function(m) {
  derivatives <- m@optinfo$derivs
  factor <- tryCatch(chol(derivatives$Hessian), error = function(e) {
    undefined(
      "where the optimizer stopped the likelihood does not curve downwards in all directions, so ",
      "it is no optimum"
    )
  })
  scaled <- solve(factor, derivatives$gradient)
  max(pmin(abs(scaled), abs(derivatives$gradient)))
}

# --- ICC ------------------------------------------------------------------------------------------

# Profile-likelihood interval of the ICC of a null model's grouping `group`, by the restricted
# likelihood if `reml`.
# With theta = tau / sigma the likelihood profiled over mean and residual SD depends on theta alone,
# and ICC_k = theta_k^2 / (sum theta^2 + 1), with prior weights their mean inverse in place of the 1
# (see residual_variance); the limits are where twice the log-likelihood falls by
# the chi-square quantile (Venzon & Moolgavkar, 1988). Other groupings' theta are profiled out.
icc_profile <- function(m, group, level = 0.95, reml = FALSE) {
  if (isREML(m) != reml) m <- update(m, REML = reml)
  deviance_of <- update(m, devFunOnly = TRUE)
  groups <- names(VarCorr(m))
  k <- match(group, groups)
  others <- getME(m, "theta")[-k]
  unit <- mean(1 / weights(m))
  at <- function(rho, rest) {
    theta <- numeric(length(groups))
    theta[-k] <- rest
    theta[k] <- sqrt(rho / (1 - rho) * (unit + sum(rest^2)))
    deviance_of(theta)
  }
  profiled <- function(rho) {
    if (!length(others)) {
      return(at(rho, numeric()))
    }
    if (length(others) == 1L) {
      return(optimize(function(r) at(rho, r), c(0, 10 * others + 10), tol = 1e-9)$objective)
    }
    optim(others, function(r) at(rho, abs(r)), control = list(reltol = 1e-12, maxit = 2000))$value
  }
  theta <- getME(m, "theta")
  best <- theta[k]^2 / (unit + sum(theta^2))
  threshold <- profiled(best) + qchisq(level, 1)
  over <- function(rho) profiled(rho) - threshold
  lower <- if (best < 1e-8 || over(0) <= 0) 0 else uniroot(over, c(0, best), tol = 1e-10)$root
  upper <- uniroot(over, c(max(best, 1e-8), 1 - 1e-6), tol = 1e-10)$root
  c(lower = lower, upper = upper)
}

# Design effect for a mean with unequal group sizes (Kish, 1987; Eldridge, Ashby & Kerry, 2006).
design_effect <- function(icc, sizes) 1 + ((1 + variation_n(sizes)^2) * mean(sizes) - 1) * icc

# Coefficient of variation with the n standard deviation, as the design effect has it.
variation_n <- function(x) sqrt(mean((x - mean(x))^2)) / mean(x)

# Mean reliability of the group means as estimates of the group intercepts
# (Raudenbush & Bryk, 2002, ch. 4): the mean over groups of tau / (tau + sigma2 / n_j).
mean_reliability <- function(tau, sigma2, sizes) mean(reliability(tau, sigma2, sizes))

# Reliability of a group's own mean: the weight of its own data in its conditional mode.
reliability <- function(tau, sigma2, sizes) tau / (tau + sigma2 / sizes)

# --- what a fit costs -----------------------------------------------------------------------------

# Nominal seconds of one evaluation of the profiled deviance: 170 ns for each non-zero element of Z
# and 1.2 ns for each multiplication of the sparse Cholesky factorisation, of which there are as many
# as the sum of its squared column counts (Davis, 2006, ch. 4). Counted and not measured, so that
# what a report leaves out is the same on every machine.
evaluation_cost <- function(m) {
  columns <- as.numeric(diff(as(getME(m, "L"), "CsparseMatrix")@p))
  1e-9 * (170 * length(getME(m, "Zt")@x) + 1.2 * sum(columns^2))
}

# Nominal seconds of a fit with k covariance parameters: an optimizer's 20 k evaluations and 2 k^2
# for lme4's derivatives, about what the data sets of lme4 and mlmRev take.
fit_cost <- function(m, k = length(getME(m, "theta"))) evaluation_cost(m) * (20 * k + 2 * k^2)

# --- tests ----------------------------------------------------------------------------------------

# A table of coefficients whose degrees of freedom are usable: where the curvature of the likelihood
# cannot be computed, the approximations come out as zero or not at all.
defined_df <- function(table) {
  if (!all(is.finite(table[, "df"]) & table[, "df"] > 0.01)) {
    undefined("the degrees of freedom come out as zero")
  }
  table
}

# P-value of a likelihood-ratio statistic for k random effects against k + 1, one of them a variance
# at its boundary: 0.5 chi2(k) + 0.5 chi2(k + 1), with chi2(0) = 0 (Self & Liang, 1987; Stram & Lee,
# 1994). `df` is the number of parameters that the larger model adds: 1 variance and k covariances.
boundary_p <- function(lr, df) {
  upper <- pchisq(lr, df, lower.tail = FALSE)
  lower <- if (df > 1) pchisq(lr, df - 1, lower.tail = FALSE) else as.numeric(lr <= 0)
  0.5 * lower + 0.5 * upper
}

# Likelihood-ratio statistic from the log-likelihoods of two fits, both by ML or both by REML; never
# below 0.
likelihood_ratio <- function(smaller, larger) max(0, 2 * as.numeric(larger - smaller))

# Akaike weights from the AICs of all models.
akaike_weight <- function(aic) exp(-0.5 * (aic - min(aic))) / sum(exp(-0.5 * (aic - min(aic))))

# Parameters of a model: fixed effects, covariance parameters, residual SD.
parameters <- function(m) attr(logLik(m), "df")

# Estimates of the fixed effects, their covariances and standard errors: what comparisons of two fits
# need of each.
fixed_part <- function(m) {
  covariance <- as.matrix(vcov(m))
  list(estimate = fixef(m), covariance = covariance, se = sqrt(diag(covariance)))
}

# Rows of the model frame grouped for the within-group regressions: the columns of X that vary
# within groups, with an intercept.
within_columns <- function(m, g) {
  x <- getME(m, "X")
  varies <- apply(x, 2L, function(column) {
    any(abs(column - ave(column, g)) > 1e-8 * max(abs(column)))
  })
  cbind(1, x[, varies, drop = FALSE])
}

# Equality of the level-1 variances over groups (Raudenbush & Bryk, 2002, ch. 9):
# H = sum d_j^2, d_j = (ln S_j^2 - sum f_j ln S_j^2 / sum f_j) / sqrt(2 / f_j), from an OLS
# regression in each group with f_j residual degrees of freedom; chi-square on J - 1. Groups with
# f_j < 10 are left out, as the normal approximation of ln S_j^2 asks.
variance_homogeneity <- function(m, g) {
  x <- within_columns(m, g) * row_scale(m)
  y <- scaled_outcome(m)
  fits <- lapply(split(seq_along(y), g), function(rows) {
    fit <- lm.fit(x[rows, , drop = FALSE], y[rows])
    c(f = fit$df.residual, s2 = sum(fit$residuals^2) / fit$df.residual)
  })
  fits <- do.call(rbind, fits)
  fits <- fits[fits[, "f"] >= 10 & is.finite(fits[, "s2"]) & fits[, "s2"] > 0, , drop = FALSE]
  if (nrow(fits) < 2) {
    undefined(
      "fewer than two groups have the 10 residual degrees of freedom that the test asks for"
    )
  }
  f <- fits[, "f"]
  log_s2 <- log(fits[, "s2"])
  d <- (log_s2 - sum(f * log_s2) / sum(f)) / sqrt(2 / f)
  list(
    H = sum(d^2), df = length(d) - 1, p = pchisq(sum(d^2), length(d) - 1, lower.tail = FALSE),
    groups = length(d)
  )
}

# Sample skewness and excess kurtosis, moment estimators (Fisher's g1 and g2).
skewness <- function(x) mean((x - mean(x))^3) / mean((x - mean(x))^2)^1.5
excess_kurtosis <- function(x) mean((x - mean(x))^4) / mean((x - mean(x))^2)^2 - 3

# --- quantile-quantile plots ----------------------------------------------------------------------

# Points of a normal Q-Q plot of the standardised x: all of them, or `most` evenly spread quantiles.
qq_points <- function(n, most = 300) ppoints(min(n, most))
qq_sample <- function(x, most = 300) {
  z <- sort((x - mean(x)) / sd(x))
  if (length(z) <= most) z else as.vector(quantile(z, ppoints(most), type = 5))
}

# Simultaneous equal-local-level band (Aldor-Noiman et al., 2013; Weine, McPeek & Abney, 2023): each
# order statistic U_(i) ~ Beta(i, n + 1 - i) is held at a local level such that all n stay inside
# with the given probability. The local level is found from simulated samples, standardised by
# their own mean and SD as the residuals are (which narrows the band), with a fixed seed of the
# generator below. For n > `largest` it is extrapolated as 1 / (log n log log n) (Gontscharuk &
# Finner, 2017), and as only `most` of the quantiles are looked at the band is a little too wide.
qq_band <- function(n, level = 0.95, most = 300, samples = 1000, largest = 300) {
  m <- min(n, largest)
  x <- matrix(qnorm(lehmer_uniform(samples * m)), m)
  u <- apply(x, 2L, function(v) pnorm(sort((v - mean(v)) / sd(v))))
  i <- seq_len(m)
  p <- pbeta(u, i, m + 1 - i)
  local <- as.vector(quantile(apply(pmin(p, 1 - p), 2L, min), 1 - level))
  if (n > m) local <- local * (log(m) * log(log(m))) / (log(n) * log(log(n)))
  # The order statistics behind the plotted points (quantile type 5 beyond `most`).
  at <- if (n <= most) seq_len(n) else n * ppoints(most) + 0.5
  list(
    lower = qnorm(qbeta(local, at, n + 1 - at)),
    upper = qnorm(qbeta(1 - local, at, n + 1 - at))
  )
}

# Park and Miller's minimal standard generator, reproducible without touching R's own. Numbers are
# drawn by doubling: x[k + n] = (16807^n mod p) x[k] mod p, every product exact in a double.
lehmer_uniform <- function(n, seed = 20261) {
  p <- 2147483647
  times <- function(a, x) (((a %/% 65536 * x) %% p) * 65536 + (a %% 65536) * x) %% p
  jump <- 16807
  x <- times(jump, seed)
  while (length(x) < n) {
    x <- c(x, times(jump, x))
    jump <- times(jump, jump)
  }
  x[seq_len(n)] / p
}

# --- residuals ------------------------------------------------------------------------------------

# At most `most` rows, evenly spread over the data, for plotting.
some_rows <- function(n, most = 2000) unique(round(seq(1, n, length.out = min(n, most))))

# At most `most` points of the lowess smooth of y on x, evenly spread over the data.
smooth_points <- function(x, y, most = 100) {
  smooth <- lowess(x, y)
  lapply(smooth, `[`, some_rows(length(smooth$x), most))
}

# Level-1 residual SD of each group, of residuals times the root of the prior weight.
group_sd <- function(m, g) as.vector(tapply(residuals(m, type = "pearson"), g, sd))

# --- variance explained ---------------------------------------------------------------------------

# Proportional reduction of a variance component from v0 to v1.
reduction <- function(v0, v1) (v0 - v1) / v0

# Variance of the random effects averaged over the rows, sum over terms of mean_i(z_i' Sigma z_i)
# (Johnson, 2014), from the relative covariance factor: sigma2 / n * sum (Lambda' Z')^2.
random_variance <- function(m) {
  sigma(m)^2 * sum((getME(m, "Lambdat") %*% getME(m, "Zt"))^2) / nobs(m)
}

# Variance of the fixed part's predictions over the rows.
fixed_variance <- function(m) {
  var(as.vector(getME(m, "X") %*% fixef(m)))
}

# Marginal and conditional R2 (Nakagawa & Schielzeth, 2013, eq. 26 and 30; random slopes: Johnson,
# 2014): shares of vf + vr + sigma2, the residual variance averaged over the rows.
r2_marginal <- function(m) {
  fixed_variance(m) / (fixed_variance(m) + random_variance(m) + residual_variance(m))
}
r2_conditional <- function(m) {
  explained <- fixed_variance(m) + random_variance(m)
  explained / (explained + residual_variance(m))
}

# --- combinations of fixed effects ----------------------------------------------------------------

# A linear combination of fixed effects from a model of lmerTest, one weight a coefficient: estimate,
# SE, df, t, p. `plus` is a known number, such as an offset, that is added to the estimate.
combination <- function(t, weights, ddf = "Satterthwaite", plus = 0) {
  stopifnot(length(weights) == length(fixef(t)))
  if (!inherits(t, "lmerModLmerTest")) {
    return(asymptotic_combination(t, weights, plus))
  }
  found <- lmerTest::contest1D(t, as.vector(weights), ddf = ddf, confint = FALSE)
  c(
    estimate = found[["Estimate"]] + plus, se = found[["Std. Error"]], df = found[["df"]],
    t = found[["t value"]], p = found[["Pr(>|t|)"]]
  )
}

# The same by the normal distribution, from a model of lme4: df are infinite.
asymptotic_combination <- function(m, weights, plus = 0) {
  estimate <- sum(weights * fixef(m))
  se <- sqrt(sum(weights * (as.matrix(vcov(m)) %*% as.vector(weights))))
  z <- estimate / se
  c(estimate = estimate + plus, se = se, df = Inf, t = z, p = 2 * pnorm(-abs(z)))
}

# The t tests of the coefficients as summary() of lmerTest's model has them, without the residuals of
# all rows that it prints beside them.
t_tests <- function(t, ddf) {
  found <- lmerTest::contest(t, diag(length(t@beta)), joint = FALSE, ddf = ddf)
  found <- as.matrix(found[c("Estimate", "Std. Error", "df", "t value", "Pr(>|t|)")])
  rownames(found) <- names(fixef(t))
  found
}

# The tests of all fixed effects by the normal distribution, columns as lmerTest names them.
asymptotic_tests <- function(m) {
  found <- t(apply(diag(length(fixef(m))), 1L, asymptotic_combination, m = m))
  dimnames(found) <- list(
    names(fixef(m)), c("Estimate", "Std. Error", "df", "t value", "Pr(>|t|)")
  )
  found
}

# Wald test of several coefficients by the chi-square distribution, as an F with infinite df.
asymptotic_joint <- function(m, coefficients) {
  k <- match(coefficients, names(fixef(m)))
  b <- fixef(m)[k]
  f <- sum(b * solve(as.matrix(vcov(m))[k, k, drop = FALSE], b)) / length(k)
  data.frame(
    NumDF = length(k), DenDF = Inf, `F value` = f,
    `Pr(>F)` = pchisq(f * length(k), length(k), lower.tail = FALSE), check.names = FALSE
  )
}

# Limits of a two-sided t interval.
t_limit <- function(c, side, level = 0.95) {
  q <- qt(1 - (1 - level) / 2, c[["df"]])
  c[["estimate"]] + (if (side == "lower") -q else q) * c[["se"]]
}

# Estimates and pointwise limits of the combinations in the rows of L, its columns the coefficients.
combinations <- function(t, l, level = 0.95, ddf = "Satterthwaite", plus = 0) {
  t(apply(l, 1L, function(row) {
    found <- combination(t, row, ddf, plus)
    c(found, lower = t_limit(found, "lower", level), upper = t_limit(found, "upper", level))
  }))
}

# --- groups ---------------------------------------------------------------------------------------

# Conditional modes of a grouping's random effects, without the variances that take long.
modes_of <- function(m, group) ranef(m, condVar = FALSE)[[group]]

# Conditional modes and their standard deviations (ranef(condVar = TRUE)) of one effect.
mode_sd <- function(m, group, effect) {
  found <- ranef(m, condVar = TRUE)[[group]]
  post <- attr(found, "postVar")
  blocks <- if (is.list(post)) post else list(post)
  columns <- names(found)
  at <- match(effect, columns)
  sizes <- vapply(blocks, function(b) dim(b)[1L], 0L)
  block <- findInterval(at - 1, cumsum(c(0, sizes)), rightmost.closed = FALSE)
  i <- at - c(0, cumsum(sizes))[block]
  sqrt(blocks[[block]][i, i, ])
}

# Where each effect of each grouping stands in u: in each term, by group, then by effect.
random_positions <- function(m) {
  terms_ <- getME(m, "cnms")
  assign_ <- attr(getME(m, "flist"), "assign")
  starts <- getME(m, "Gp")
  found <- list()
  for (k in seq_along(terms_)) {
    group <- names(getME(m, "flist"))[assign_[k]]
    effects <- terms_[[k]]
    n <- nlevels(getME(m, "flist")[[group]])
    for (e in seq_along(effects)) {
      found[[group]][[effects[e]]] <- starts[k] + (seq_len(n) - 1) * length(effects) + e
    }
  }
  found
}

# Mean of the outcome in each group.
raw_means <- function(y, g) as.vector(tapply(y, g, mean))

# The same of the outcome less the offset, with each row's prior weight.
weighted_means <- function(m, g) {
  y <- getME(m, "y") - getME(m, "offset")
  as.vector(tapply(weights(m) * y, g, sum)) / group_weights(m, g)
}

# --- predictions from the fixed part --------------------------------------------------------------

# Rows of the fixed-effects design for new values of the predictors, with the model's own contrasts,
# factor levels and data-dependent bases.
fixed_rows <- function(m, values) {
  of_fit <- delete.response(terms(m, fixed.only = TRUE))
  frame <- model.frame(of_fit, values, xlev = factor_levels(m))
  model.matrix(of_fit, frame, contrasts.arg = attr(getME(m, "X"), "contrasts"))[
    , names(fixef(m)),
    drop = FALSE
  ]
}

factor_levels <- function(m) {
  frame <- model.frame(m)
  found <- Filter(is.factor, as.list(frame)[intersect(names(frame), all.vars(terms(m)))])
  lapply(found, levels)
}

# The offset at new values of the predictors; 0 in a model without one.
offset_at <- function(m, values) {
  of_fit <- delete.response(terms(m, fixed.only = TRUE))
  found <- model.offset(model.frame(of_fit, values, xlev = factor_levels(m)))
  if (is.null(found)) numeric(nrow(values)) else as.vector(found)
}

# The same row with other values: `with_values(typical, x = 1)`; a vector gives several rows. The
# dot keeps the argument apart from columns of any name.
with_values <- function(.row, ...) {
  new <- list(...)
  n <- max(lengths(new), 1L)
  rows <- if (nrow(.row) == 1L) .row[rep(1L, n), , drop = FALSE] else .row
  rownames(rows) <- NULL
  for (name in names(new)) {
    old <- .row[[name]]
    rows[[name]] <- if (is.factor(old)) factor(new[[name]], levels(old)) else new[[name]]
  }
  rows
}

with_list <- function(row, name, values) {
  do.call(with_values, c(list(row), setNames(list(values), name)))
}

# Weights of the change in the expected outcome per unit of x at a row of values: a central
# difference, exact for linear and quadratic terms.
slope_weights <- function(m, row, x) {
  ends <- fixed_rows(m, with_list(row, x, row[[x]] + c(-0.5, 0.5)))
  ends[2L, ] - ends[1L, ]
}

# Roots of (b + c z)^2 = t^2 (v_b + 2 z v_bc + z^2 v_c): where the simple slope's pointwise interval
# touches zero (Johnson & Neyman, 1936; Bauer & Curran, 2005). NA where there are none.
johnson_neyman <- function(b, c, vb, vbc, vc, quantile) {
  q2 <- quantile^2
  roots <- c(c^2 - q2 * vc, 2 * (b * c - q2 * vbc), b^2 - q2 * vb)
  inside <- roots[2]^2 - 4 * roots[1] * roots[3]
  if (inside < 0 || roots[1] == 0) {
    return(c(lower = NA_real_, upper = NA_real_))
  }
  sort((-roots[2] + c(-1, 1) * sqrt(inside)) / (2 * roots[1]))
}

# What a random effect is multiplied by at a row of values. Effects that are not among the fixed
# ones are put together from the row: numbers, indicators of a category, functions and bases of numbers,
# products of them.
effect_value <- function(effect, x, row, m) {
  if (effect %in% colnames(x)) {
    return(x[[1L, effect]])
  }
  if (effect == "(Intercept)") {
    return(1)
  }
  prod(vapply(strsplit(effect, ":", fixed = TRUE)[[1L]], factor_value, 0, row = row, m = m))
}

factor_value <- function(part, row, m) {
  if (plain_name(part) %in% names(row)) {
    return(as.numeric(row[[plain_name(part)]]))
  }
  for (name in names(row)) {
    indicators <- paste0(formula_name(name), levels(row[[name]]))
    if (is.factor(row[[name]]) && part %in% indicators) {
      return(as.numeric(part == paste0(formula_name(name), row[[name]])))
    }
  }
  basis_value(part, row, m)
}

# Of a function of numbers, or of one column of a basis such as poly(x, 2)1.
basis_value <- function(part, row, m) {
  basis <- sub("[0-9]+$", "", part)
  written <- tryCatch(str2lang(basis), error = function(e) NULL)
  if (!is.call(written) || !all(all.vars(written) %in% names(row))) {
    undefined("the value of the random effect ", part, " at typical values is not known")
  }
  if (basis == part) {
    return(as.numeric(eval(written, row)))
  }
  stats::predict(m@frame[[basis]], eval(written[[2L]], row))[[as.integer(substring(part, nchar(basis) + 1L))]]
}

# Variance of a combination of the fixed effects.
variance_of <- function(m, weights) sum(weights * (as.matrix(vcov(m)) %*% weights))

# 41 points over the range of x.
x_grid <- function(x) seq(min(x), max(x), length.out = 41L)

# Variance of the random part at a row of values, over all groupings: sum z' Sigma z.
variance_at <- function(m, row) {
  x <- fixed_rows(m, row)
  sum(vapply(VarCorr(m), function(v) {
    z <- vapply(rownames(v), effect_value, 0, x = x, row = row, m = m)
    sum(z * (as.matrix(v) %*% z))
  }, 0))
}

# Expected outcome in every group: fixed part at the group's own row of values plus its modes.
group_values_at <- function(m, group, rows) {
  modes <- as.matrix(modes_of(m, group))
  expected <- as.vector(fixed_rows(m, rows) %*% fixef(m)) + offset_at(m, rows)
  expected + rowSums(modes * effects_at(m, rows, colnames(modes)))
}

# What random effects are multiplied by at rows of values: one row a row, one column an effect.
effects_at <- function(m, rows, effects) {
  x <- fixed_rows(m, rows)
  z <- vapply(seq_len(nrow(rows)), function(i) {
    row <- rows[i, , drop = FALSE]
    vapply(effects, effect_value, 0, x = x[i, , drop = FALSE], row = row, m = m)
  }, numeric(length(effects)))
  matrix(z, nrow(rows), byrow = TRUE)
}

# A row per group, in the order of the levels: the given row with the group's own values of `columns`.
group_rows <- function(row, group, data, columns) {
  first <- match(levels(data[[group]]), as.character(data[[group]]))
  rows <- row[rep(1L, length(first)), , drop = FALSE]
  rownames(rows) <- NULL
  rows[columns] <- data[first, columns, drop = FALSE]
  rows
}
