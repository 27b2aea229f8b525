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

# The only grouping of a model of two levels.
only_grouping <- function(m) {
  flist <- getME(m, "flist")
  if (length(flist) != 1L) undefined("it is defined here for data of two levels only")
  flist[[1L]]
}

# Group means of the columns of a matrix, on the rows.
between_part <- function(x, g) {
  sums <- rowsum(x, as.integer(g), reorder = TRUE)
  means <- sums / as.vector(table(as.integer(g)))
  means[match(as.integer(g), as.integer(rownames(means))), , drop = FALSE]
}

# Columns of the fixed part that vary within groups and whose group means differ: their coefficient
# is one for the within- and the between-group part.
conflated <- function(m) {
  x <- getME(m, "X")
  b <- between_part(x, only_grouping(m))
  scale <- apply(abs(x), 2L, max)
  within <- apply(abs(x - b), 2L, max) > 1e-8 * scale
  differ <- apply(b, 2L, function(v) diff(range(v))) > 1e-6 * scale
  colnames(x)[within & differ]
}

# Parts of the model-implied variance of two-level data (Rights & Sterba, 2019, eq. 5-10): f1 and
# f2, the fixed part within and between groups, v, slopes that vary, m, means that vary, and the
# residual variance. Every column x of the design, of the fixed and of the random part, is split
# into x - group mean and group mean; for predictors centred within groups this is their
# decomposition. Then f1 = var(X_w b), f2 = var(X_b b), v = mean(z_w' T z_w), m = mean(z_b' T z_b),
# so that f1 + f2 and v + m are the fixed and the random variance of the marginal R2.
variance_parts <- function(m) {
  g <- only_grouping(m)
  x <- getME(m, "X")
  b <- between_part(x, g)
  random <- vapply(seq_along(VarCorr(m)), function(k) {
    z <- getME(m, "mmList")[[k]]
    covariance <- as.matrix(VarCorr(m)[[k]])
    z_b <- between_part(z, g)
    z_w <- z - z_b
    c(v = sum((z_w %*% covariance) * z_w), m = sum((z_b %*% covariance) * z_b)) / nrow(z)
  }, c(v = 0, m = 0))
  c(
    f1 = var(as.vector((x - b) %*% fixef(m))), f2 = var(as.vector(b %*% fixef(m))),
    rowSums(random), residual = sigma(m)^2
  )
}

# Shares of some parts in the sum of others.
share_of <- function(parts, what, whole) sum(parts[what]) / sum(parts[whole])

error_reduction <- function(m, null, n = 1) {
  1 - prediction_variance(m, n) / prediction_variance(null, n)
}
prediction_variance <- function(m, n) {
  only_grouping(m)
  if (!identical(unlist(getME(m, "cnms"), use.names = FALSE), "(Intercept)")) {
    undefined("it is defined for models with random intercepts only")
  }
  sigma(m)^2 / n + component(m, 1L, "(Intercept)")
}

# --- prediction for groups left out ---------------------------------------------------------------

# Predictions of the fixed part for each group from coefficients estimated without that group, the
# variance components held at their estimates: b(-j) = (A - A_j)^-1 (a - a_j), with
# A_j = X_j' V_j^-1 X_j and a_j = X_j' V_j^-1 y_j (generalised least squares with a block deleted);
# V_j^-1 by the Woodbury identity with Z_j Lambda_j.
left_out_predictions <- function(m) {
  g <- only_grouping(m)
  x <- getME(m, "X")
  offset_ <- getME(m, "offset")
  y <- getME(m, "y") - offset_
  z <- do.call(cbind, Map(function(a, b) as.matrix(a %*% b), getME(m, "mmList"), getME(m, "Tlist")))
  parts <- lapply(split(seq_along(y), g), function(rows) {
    xj <- x[rows, , drop = FALSE]
    zj <- z[rows, , drop = FALSE]
    xy <- cbind(xj, y[rows])
    inner <- solve(diag(ncol(z)) + crossprod(zj), crossprod(zj, xy))
    list(rows = rows, gram = crossprod(xj, xy) - crossprod(xj, zj) %*% inner)
  })
  total <- Reduce(`+`, lapply(parts, `[[`, "gram"))
  p <- ncol(x)
  predicted <- numeric(length(y))
  for (part in parts) {
    rest <- total - part$gram
    scale <- 1 / sqrt(pmax(diag(rest[, seq_len(p), drop = FALSE]), .Machine$double.xmin))
    scaled <- rest[, seq_len(p), drop = FALSE] * outer(scale, scale)
    if (rcond(scaled) < 1e-11) {
      undefined("without one of the groups a coefficient cannot be estimated")
    }
    b <- scale * solve(scaled, scale * rest[, p + 1L])
    predicted[part$rows] <- x[part$rows, , drop = FALSE] %*% b
  }
  predicted + offset_
}

# Root mean squared error of predictions, and that of the fixed part in its own sample.
prediction_error <- function(y, predicted) sqrt(mean((y - predicted)^2))
fixed_predictions <- function(m) as.vector(getME(m, "X") %*% fixef(m)) + getME(m, "offset")

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

# Largest difference of the fixed effects of two fits of the same fixed part, in standard errors of
# the first.
largest_shift <- function(m, other) {
  max(abs(fixef(other)[names(fixef(m))] - fixef(m)) / sqrt(diag(as.matrix(vcov(m)))))
}

# Largest ratio of the standard errors of a fixed effect in two fits, the larger one above.
largest_se_ratio <- function(m, other) {
  ratio <- sqrt(diag(as.matrix(vcov(other)))[names(fixef(m))] / diag(as.matrix(vcov(m))))
  max(ratio, 1 / ratio)
}

# Limits of all fixed effects but the intercept, q standard errors away.
fixed_limit <- function(m, q) {
  (fixef(m) + q * sqrt(diag(as.matrix(vcov(m)))))[names(fixef(m)) != "(Intercept)"]
}

# P-value of a restricted likelihood ratio for one variance, by simulation of its exact null
# distribution (Crainiceanu & Ruppert, 2004; with other variances in the model: Greven,
# Crainiceanu, Kuechenhoff & Peters, 2008). `only` has the tested effect as its one random effect.
simulated_p <- function(only, larger, smaller, simulations, seed) {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  found <- RLRsim::exactRLRT(only, larger, smaller, nsim = simulations)
  # A simulated p of 0 says no more than below one in the number of samples.
  max(found$p.value, 1 / (simulations + 1))
}
