# Statistics of the sequence of models and of their fit, each with its source.
#
# Part of every reproduce.R: lme4, base R and pkg:: only.

# --- criteria -------------------------------------------------------------------------------------

# AIC corrected for small samples, n the number of rows (Hurvich & Tsai, 1989):
# AIC + 2 k (k + 1) / (n - k - 1).
aic_corrected <- function(m) {
  k <- parameters(m)
  n <- nobs(m)
  if (n - k - 1 <= 0) undefined("there are too few rows for that many parameters")
  AIC(m) + 2 * k * (k + 1) / (n - k - 1)
}

# BIC with the number of groups as n, -2 logLik + k ln J: groups, not rows, are the independent
# units (Raftery, 1995; Delattre, Lavielle & Poursat, 2014).
bic_groups <- function(m, group) {
  -2 * as.numeric(logLik(m)) + parameters(m) * log(ngrps(m)[[group]])
}

# --- variance explained at each level -------------------------------------------------------------

# Variance between the groups of a grouping at the means of all that their random effects are
# multiplied by, z' Sigma z: the intercept variance where only intercepts vary. Where slopes vary, the
# intercept variance is one at zero of the predictors, which may be far from the data.
variance_at_means <- function(m, group) {
  own <- block_groups(m) == group
  sum(mapply(function(v, z) {
    at <- colMeans(z)
    sum(at * (as.matrix(v) %*% at))
  }, VarCorr(m)[own], getME(m, "mmList")[own]))
}

# Reduction of the mean squared error of prediction against a null model (Snijders & Bosker, 2012):
# of single rows, or of the means of the groups of a level.
error_reduction <- function(m, null, group = NULL) {
  1 - prediction_variance(m, group) / prediction_variance(null, group)
}

# Variance of a row, or of a mean of the rows of a group, about the fixed part. In a mean of n rows
# the residual variance counts 1 / n and the variance of a grouping sum (n_h / n)^2 over its groups
# that the rows lie in, which is 1 for the group itself and for all that hold it; each is averaged
# over the groups, so that in data of two levels n is the harmonic mean of the sizes.
prediction_variance <- function(m, group = NULL) {
  if (!all(unlist(getME(m, "cnms"), use.names = FALSE) == "(Intercept)")) {
    undefined("it is defined for models with random intercepts only")
  }
  variances <- vapply(VarCorr(m), function(v) v[1L, 1L], 0)
  if (is.null(group)) {
    return(sum(variances) + sigma(m)^2)
  }
  flist <- getME(m, "flist")
  weights <- vapply(flist[block_groups(m)], mean_concentration, 0, g = flist[[group]])
  sum(weights * variances) + sigma(m)^2 * mean(1 / group_sizes(flist[[group]]))
}

# Mean over the groups of g of the sum of squared shares of their rows in the groups of h.
mean_concentration <- function(g, h) {
  cell <- (as.integer(g) - 1) * nlevels(h) + as.integer(h)
  counts <- tabulate(match(cell, unique(cell)))
  own <- as.integer(g)[!duplicated(cell)]
  mean(rowsum((counts / tabulate(g)[own])^2, own))
}

# --- prediction for groups left out ---------------------------------------------------------------

# Predictions of the fixed part for each group of the highest level from coefficients estimated
# without that group, the variance components held at their estimates: b(-j) = (A - A_j)^-1 (a - a_j),
# with A_j = X_j' V_j^-1 X_j and a_j = X_j' V_j^-1 y_j (generalised least squares with a block
# deleted). With U = Lambda' Z' and LL' = UU' + I, of which the groups are blocks, A_j is
# X_j'X_j - C_j'C_j, C = L^-1 U X.
left_out_predictions <- function(m, group) {
  flist <- getME(m, "flist")
  g <- flist[[group]]
  xy <- cbind(scaled_fixed(m), scaled_outcome(m))
  u <- scaled_random(m)
  solved <- Matrix::Cholesky(Matrix::tcrossprod(u), LDL = FALSE, Imult = 1)
  inner <- Matrix::solve(solved, Matrix::solve(solved, u %*% xy, "P"), "L")
  # The group that each random effect lies in, in the order of the factor.
  own <- unlist(Map(function(f, effects) {
    rep(as.integer(g)[match(levels(f), f)], each = length(effects))
  }, flist[block_groups(m)], getME(m, "cnms")))
  own <- as.vector(as.matrix(Matrix::solve(solved, own, "P")))
  grams <- products_by(xy, as.integer(g)) - products_by(as.matrix(inner), own)
  total <- colSums(grams)
  fixed <- seq_len(ncol(xy) - 1L)
  least <- 1e-8 * diag(matrix(total, ncol(xy)))[fixed]
  # Not within t(): its method dispatch would take the class off a condition.
  without <- vapply(seq_len(nlevels(g)), function(j) {
    rest <- matrix(total - grams[j, ], ncol(xy))[fixed, , drop = FALSE]
    own <- diag(rest[, fixed, drop = FALSE])
    scale <- 1 / sqrt(pmax(own, least))
    scaled <- rest[, fixed, drop = FALSE] * outer(scale, scale)
    if (any(own <= least) || rcond(scaled) < 1e-11) {
      undefined("without one of the groups a coefficient cannot be estimated")
    }
    scale * solve(scaled, scale * rest[, ncol(xy)])
  }, numeric(length(fixed)))
  predictions_without(m, g, matrix(without, nlevels(g), byrow = TRUE))
}

# The same for crossed groupings, where the rest of the data is no set of blocks: rows are taken out of
# Henderson's equations (see fixed_without_groups), as the modes of the other groupings stay in them.
left_out_crossed <- function(m, group, most = 2e6) {
  g <- getME(m, "flist")[[group]]
  if (sum(getME(m, "q")) * nlevels(g) > most) {
    undefined("for so many crossed groups it would take very long: a solution for each of them")
  }
  without <- fixed_without_groups(m, g)
  if (anyNA(without)) undefined("without one of the groups a coefficient cannot be estimated")
  predictions_without(m, g, without)
}

predictions_without <- function(m, g, without) {
  rowSums(getME(m, "X") * without[as.integer(g), , drop = FALSE]) + getME(m, "offset")
}

# Sums over the rows of each group of the products of all pairs of columns, a row a group.
products_by <- function(x, g) {
  do.call(cbind, lapply(seq_len(ncol(x)), function(i) rowsum(x * x[, i], g)))
}

# Root mean squared error of predictions, rows counted by their prior weights; and the predictions of
# the fixed part in its own sample.
prediction_error <- function(y, predicted, w = 1) {
  sqrt(sum(w * (y - predicted)^2) / sum(rep_len(w, length(y))))
}
fixed_predictions <- function(m) as.vector(getME(m, "X") %*% fixef(m)) + getME(m, "offset")

# --- the outcome's own scale ----------------------------------------------------------------------

# Sum of the log derivatives of a transformation of the outcome, from the transformed values t: added
# to the log-likelihood it gives that of the outcome before (the change of variables of a density).
log_jacobian <- function(t, transform) {
  if (transform == "sqrt" && any(t <= 0)) {
    undefined("an outcome of zero has no density on its own scale under a square root")
  }
  sum(switch(transform,
    none = 0 * t, log = -t, log1p = -t, log2 = -t * log(2) - log(log(2)),
    log10 = -t * log(10) - log(log(10)), sqrt = -log(2 * t)
  ))
}

# -2 log-likelihood of a fit by ML, of the outcome before its transformation, plus a penalty a
# parameter: 0 for the deviance, 2 for AIC, log(n) for BIC.
criterion_before <- function(m, transform, penalty = 0) {
  loglik <- logLik(refitML(m))
  -2 * (as.numeric(loglik) + log_jacobian(getME(m, "y"), transform)) + penalty * attr(loglik, "df")
}

# --- other definitions ----------------------------------------------------------------------------

# Share of the random effects' variance, averaged over the rows, in it and the residual variance (the
# adjusted ICC of Nakagawa, Johnson & Schielzeth, 2017) and in all, the fixed part's included.
icc_adjusted <- function(m) random_variance(m) / (random_variance(m) + residual_variance(m))
icc_unadjusted <- function(m) {
  random_variance(m) / (fixed_variance(m) + random_variance(m) + residual_variance(m))
}

# Share of the random intercepts' variances in the averaged variance of all random effects and the
# residual variance.
icc_intercepts <- function(m) {
  sum(intercept_variances(m)) / (random_variance(m) + residual_variance(m))
}

# Share of the random intercepts' variances in them and the residual variance: the ICC where all
# predictors with a random slope are zero.
icc_at_zero <- function(m) {
  intercepts <- intercept_variances(m)
  sum(intercepts) / (sum(intercepts) + residual_variance(m))
}
intercept_variances <- function(m) {
  unlist(lapply(VarCorr(m), function(v) v["(Intercept)" == rownames(v), "(Intercept)" == rownames(v)]))
}

# R2 with the intercept variances alone as random variance (Nakagawa & Schielzeth, 2013).
r2_without_slopes <- function(m, conditional = FALSE) {
  fixed <- fixed_variance(m)
  random <- sum(intercept_variances(m))
  (fixed + conditional * random) / (fixed + random + residual_variance(m))
}

# Squared correlation of the outcome with predictions.
squared_correlation <- function(m, predicted) {
  if (sd(predicted) < 1e-10 * sd(getME(m, "y"))) undefined("the predictions do not differ")
  cor(getME(m, "y"), predicted)^2
}

# Cook's distance of what one refit left out, its variances estimated anew.
refit_cook <- function(fixed, refit) {
  kept <- names(refit$estimate)
  change <- fixed$estimate[kept] - refit$estimate
  sum(change * solve(fixed$covariance[kept, kept, drop = FALSE], change)) / length(change)
}

# --- random structures ----------------------------------------------------------------------------

# Dimensions in which the random effects of a grouping vary, and their number at most: principal
# components of the relative covariance that carry more than a share of `least` of its variance
# (Bates, Kliegl, Vasishth & Baayen, 2015; lme4::rePCA).
pca_shares <- function(m, group) {
  variances <- rePCA(m)[[group]]$sdev^2
  if (sum(variances) <= 0) undefined("all variances of these groups are estimated as zero")
  variances / sum(variances)
}
dimensions <- function(m, group, least = 1e-4) sum(pca_shares(m, group) > least)

# Largest ratio of the standard errors of a fixed effect in two fits, the larger one above.
largest_se_ratio <- function(fixed, other) {
  ratio <- other$se[names(fixed$se)] / fixed$se
  max(ratio, 1 / ratio)
}

# Limits of all fixed effects but the intercept, q standard errors away.
fixed_limit <- function(m, q) {
  (fixef(m) + q * sqrt(diag(as.matrix(vcov(m)))))[names(fixef(m)) != "(Intercept)"]
}

# Outcomes drawn from a model, a column a sample; errors have the variance sigma2 / w_i, which
# lme4::simulate leaves out of account.
drawn_outcomes <- function(m, samples) {
  fixed <- as.vector(getME(m, "X") %*% fixef(m)) + getME(m, "offset")
  zl <- Matrix::t(getME(m, "Lambdat") %*% getME(m, "Zt"))
  replicate(samples, {
    fixed + sigma(m) * (as.vector(zl %*% rnorm(ncol(zl))) + rnorm(nobs(m)) / row_scale(m))
  })
}

# Standard error of a fixed effect from a bootstrap.
bootstrap_se <- function(refits, term, most = 0.05) {
  if (mean(!refits$converged) > most) {
    undefined("in more than one in twenty bootstrap samples the model could not be fitted")
  }
  sd(refits$beta[, term], na.rm = TRUE)
}

# SDs, correlations and the residual SD by the names of confint_profile().
sd_and_correlations <- function(m) {
  groups <- block_groups(m)
  found <- unlist(lapply(seq_along(groups), function(k) {
    v <- VarCorr(m)[[k]]
    effects <- rownames(v)
    lower <- which(lower.tri(v), arr.ind = TRUE)
    names_ <- c(
      paste0("sd_", effects, "|", groups[k]),
      sprintf("cor_%s.%s|%s", effects[lower[, 1L]], effects[lower[, 2L]], groups[k])[seq_len(nrow(lower))]
    )
    setNames(c(attr(v, "stddev"), attr(v, "correlation")[lower]), names_)
  }))
  c(found, sigma = sigma(m))
}
all_parameters <- function(m) c(sd_and_correlations(m), fixef(m))
# A limit of a percentile interval; none where both ends are one value, as of a quantity that is zero
# by construction or in nearly all samples.
percentile_limit <- function(values, tail, side) {
  limits <- quantile(values, c(tail, 1 - tail), na.rm = TRUE, names = FALSE)
  if (diff(limits) < 1e-10) undefined("it is the same in nearly all bootstrap samples")
  limits[[if (side == "lower") 1L else 2L]]
}
bootstrap_limits <- function(values, level) {
  tails <- c((1 - level) / 2, 1 - (1 - level) / 2)
  t(apply(values, 2L, quantile, probs = tails, na.rm = TRUE, names = FALSE))
}
