# Standard errors of variance components, and statistics by the definitions of other programs.

# Standard errors of the (co)variances and of the residual variance: the Hessian of the deviance or
# REML criterion in them, the fixed effects profiled out, by central differences (the observed
# information, which SAS, SPSS and Stata use) at two steps, from which their error of the second order
# is taken out (Richardson, 1911): a small step alone loses digits to rounding. Where a step leaves the
# range, as beside a correlation near 1, smaller ones are taken. None at the boundary.
component_errors <- function(m, steps = c(1e-2, 1e-3)) {
  if (isSingular(m)) {
    return(numeric())
  }
  criterion <- component_criterion(m)
  lower <- lapply(VarCorr(m), function(v) as.matrix(v)[lower.tri(v, TRUE)])
  values <- c(unlist(lower), sigma(m)^2)
  names(values) <- c(unlist(Map(lower_names, VarCorr(m), block_groups(m))), "sigma2")
  scales <- c(unlist(lapply(VarCorr(m), function(v) {
    s <- sqrt(diag(as.matrix(v)))
    outer(s, s)[lower.tri(v, TRUE)]
  })), sigma(m)^2)
  for (h in steps) {
    near <- central_hessian(criterion, values, h * scales)
    far <- central_hessian(criterion, values, 2 * h * scales)
    covariance <- tryCatch(2 * solve((4 * near - far) / 3), error = function(e) NULL)
    if (!is.null(covariance) && all(is.finite(covariance)) && all(diag(covariance) > 0)) {
      return(setNames(sqrt(diag(covariance)), names(values)))
    }
  }
  numeric()
}

# The deviance or REML criterion as a function of the (co)variances, a lower triangle a block, and of
# the residual variance; NA where these are no covariance matrix.
component_criterion <- function(m) {
  deviance_of <- deviance_function(m)
  inner <- environment(deviance_of)
  size <- lengths(getME(m, "cnms"))
  n <- nobs(m) - if (isREML(m)) ncol(getME(m, "X")) else 0L
  function(values) {
    sigma2 <- values[length(values)]
    theta <- tryCatch(
      unlist(Map(
        function(part, k) covariance_factor(part, k) / sqrt(sigma2),
        split(values[-length(values)], rep(seq_along(size), size * (size + 1) / 2)), size
      )),
      error = function(e) NULL
    )
    if (is.null(theta)) {
      return(NA_real_)
    }
    profiled <- deviance_of(theta)
    rss <- inner$resp$wrss() + inner$pp$sqrL(1)
    # From the criterion with sigma2 profiled out to the one at this sigma2 (Bates et al., 2015).
    profiled - n * (1 + log(2 * pi * rss / n)) + n * log(2 * pi * sigma2) + rss / sigma2
  }
}

lower_names <- function(block, group) {
  effects <- rownames(block)
  pairs <- which(lower.tri(block, TRUE), arr.ind = TRUE)
  apply(pairs, 1L, function(p) {
    if (p[1L] == p[2L]) {
      paste("var", group, effects[p[1L]], sep = "/")
    } else {
      paste("cov", group, effects[p[2L]], effects[p[1L]], sep = "/")
    }
  })
}

# The lower triangle of the Cholesky factor of a covariance matrix given by its lower triangle.
covariance_factor <- function(part, k) {
  v <- matrix(0, k, k)
  v[lower.tri(v, TRUE)] <- part
  v <- v + t(v) - diag(diag(v), k)
  t(chol(v))[lower.tri(v, TRUE)]
}

central_hessian <- function(f, x, h) {
  k <- length(x)
  at <- function(i, a, j, b) {
    x[i] <- x[i] + a * h[i]
    x[j] <- x[j] + b * h[j]
    f(x)
  }
  middle <- f(x)
  hessian <- matrix(0, k, k)
  for (i in seq_len(k)) {
    hessian[i, i] <- (at(i, 1, i, 0) - 2 * middle + at(i, -1, i, 0)) / h[i]^2
    for (j in seq_len(i - 1L)) {
      hessian[i, j] <- hessian[j, i] <-
        (at(i, 1, j, 1) - at(i, 1, j, -1) - at(i, -1, j, 1) + at(i, -1, j, -1)) / (4 * h[i] * h[j])
    }
  }
  hessian
}

# --- other programs ------------------------------------------------------------------------------

# Wald's test of the variance of a grouping's intercepts: one-sided, as a variance is not negative.
wald_variance_p <- function(m, group) {
  name <- paste("var", group, "(Intercept)", sep = "/")
  errors <- component_errors(m)
  if (!name %in% names(errors)) {
    undefined("a variance is at its boundary or the likelihood too flat for a standard error")
  }
  pnorm(-component(m, intercept_block(m, group), "(Intercept)") / errors[[name]])
}

# R2 as the R package MuMIn computes it: the random variance block by block from the columns of the
# model matrix, the mean over the rows of z' Sigma z (Johnson, 2014).
r2_by_blocks <- function(m, conditional = FALSE) {
  parts <- Map(
    function(z, v) mean(rowSums((z %*% as.matrix(v)) * z)), unname(getME(m, "mmList")), VarCorr(m)
  )
  fixed <- fixed_variance(m)
  random <- sum(unlist(parts))
  (fixed + conditional * random) / (fixed + random + sigma(m)^2)
}

# The variances that the R package performance divides (Luedecke et al., 2021; version 0.10.2 with
# insight 0.19, get_variance): of the fixed part's predictions; of the random effects, the mean over the
# rows of z' Sigma z for the first block of each grouping, z the columns of X of the same names, so that
# uncorrelated slopes (||) and slopes without a fixed effect are left out; and the residual variance.
# Where a diagonal element of theta is below a tolerance, its variance of the random effects is NA.
performance_variances <- function(m, tolerance = 1e-5) {
  x <- getME(m, "X")
  if (!"(Intercept)" %in% colnames(x)) x <- cbind("(Intercept)" = 1, x)
  parts <- vapply(VarCorr(m)[names(getME(m, "flist"))], function(v) {
    effects <- intersect(rownames(v), colnames(x))
    z <- x[, effects, drop = FALSE]
    sum((z %*% as.matrix(v)[effects, effects, drop = FALSE]) * z) / nobs(m)
  }, 0)
  singular <- any(abs(getME(m, "theta")[getME(m, "lower") == 0]) < tolerance)
  list(fixed = fixed_variance(m), random = if (singular) NA_real_ else sum(parts), residual = sigma(m)^2)
}

icc_by_performance <- function(m) {
  v <- performance_variances(m)
  if (is.na(v$random)) undefined(without_performance)
  v$random / (v$random + v$residual)
}

# R2 by Nakagawa & Schielzeth (2013) of these variances; the marginal one without the random effects
# where performance gives none.
r2_by_performance <- function(m, conditional = FALSE) {
  v <- performance_variances(m)
  if (is.na(v$random) && conditional) undefined(without_performance)
  if (is.na(v$random)) v$random <- 0
  (v$fixed + conditional * v$random) / (v$fixed + v$random + v$residual)
}

without_performance <- "performance gives no value where a variance is zero to its tolerance"

# AIC or BIC by the criterion of the fit with another n, and with or without the fixed effects among
# the parameters; a penalty of 2 gives AIC.
criterion_by <- function(m, penalty, fixed = TRUE) {
  -2 * as.numeric(logLik(m)) + penalty * (parameters(m) - if (fixed) 0 else length(fixef(m)))
}
