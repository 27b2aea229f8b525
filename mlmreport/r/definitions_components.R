# Standard errors of variance components, and statistics by the definitions of other programs.

# Standard errors of the (co)variances and of the residual variance: from the observed information of
# the likelihood, or of the restricted one, in them with the fixed effects profiled out, which SAS, SPSS
# and Stata use. None at the boundary, or where the information is not positive definite.
component_errors <- function(m) {
  if (isSingular(m)) {
    return(numeric())
  }
  information <- component_information(m)
  covariance <- tryCatch(solve(information), error = function(e) NULL)
  if (is.null(covariance) || !all(is.finite(covariance)) || any(diag(covariance) <= 0)) {
    return(numeric())
  }
  sqrt(diag(covariance))
}

# Standard errors of the fixed effects from the information of all parameters together, where those of
# lme4 take the (co)variances as known: (X'V^-1 X)^-1 + J C J', with C the covariance matrix of the
# (co)variances and J the derivatives of the fixed effects by them, -(X'V^-1 X)^-1 X'V^-1 V_i P y. So
# does glmmTMB, and so does a program that inverts one Hessian of all. None at the boundary.
joint_fixed_errors <- function(m) {
  if (isSingular(m)) {
    return(numeric())
  }
  covariance <- tryCatch(solve(component_information(m)), error = function(e) NULL)
  if (is.null(covariance) || any(diag(covariance) <= 0)) {
    return(numeric())
  }
  at <- precision_products(m)
  patterns <- component_patterns(m)
  moved <- crossprod(at$zvx, vapply(patterns, function(e) as.vector(e %*% at$zpy), at$zpy))
  moved <- at$c %*% cbind(moved, -moved %*% component_values(m) / sigma(m)^2)
  setNames(sqrt(diag(at$c + moved %*% covariance %*% t(moved))), names(fixef(m)))
}

# The (co)variances, a lower triangle a block.
component_values <- function(m) {
  unlist(lapply(VarCorr(m), function(v) as.matrix(v)[lower.tri(v, TRUE)]))
}

# The observed information itself. V is linear in the (co)variances, V = sum(psi_k V_k), so that its
# elements are y'P V_i P V_j P y - tr(A V_i A V_j) / 2 with A = P by REML and A = V^-1 by ML (Searle,
# Casella & McCulloch, 1992, Section 6.6; by ML the first term is the Schur complement of the fixed
# effects). V_i of a random effect is Z E_i Z', so that Z'V^-1 Z is enough; what concerns the residual
# variance follows from P V P = P and V^-1 V = I.
component_information <- function(m) {
  at <- precision_products(m)
  patterns <- component_patterns(m)
  quadratic <- component_quadratic(at, patterns)
  traces <- component_traces(at, patterns, isREML(m))
  psi <- component_values(m)
  whole <- nobs(m) - if (isREML(m)) ncol(at$zvx) else 0L
  squares <- with_residual(quadratic$first, quadratic$second, psi, at$ypy, sigma(m)^2)
  information <- squares - with_residual(traces$first, traces$second, psi, whole, sigma(m)^2) / 2
  names <- c(unlist(Map(lower_names, VarCorr(m), block_groups(m))), "sigma2")
  dimnames(information) <- list(names, names)
  information
}

# Z'V^-1 Z, Z'V^-1 X, (X'V^-1 X)^-1, Z'P y and y'P y by Woodbury's identity.
precision_products <- function(m) {
  z <- getME(m, "Z")
  x <- getME(m, "X")
  lambda <- getME(m, "Lambda")
  wz <- z * weights(m)
  wx <- x * weights(m)
  residual <- getME(m, "y") - getME(m, "offset") - as.vector(x %*% fixef(m))
  zz <- Matrix::crossprod(z, wz)
  zx <- Matrix::crossprod(z, wx)
  inner <- Matrix::crossprod(lambda, zz %*% lambda)
  factor <- Matrix::Cholesky(Matrix::forceSymmetric(inner), Imult = 1)
  less <- function(whole, left, right) {
    left <- Matrix::crossprod(lambda, left)
    part <- Matrix::solve(factor, Matrix::crossprod(lambda, right))
    (whole - Matrix::crossprod(left, part)) / sigma(m)^2
  }
  xvx <- as.matrix(less(crossprod(x, wx), zx, zx))
  list(
    zvz = less(zz, zz, zz), zvx = as.matrix(less(zx, zz, zx)), c = solve(xvx),
    zpy = as.vector(less(Matrix::crossprod(wz, residual), zz, Matrix::crossprod(wz, residual))),
    ypy = unname(m@devcomp$cmp[["pwrss"]]) / sigma(m)^2
  )
}

# For each (co)variance E_i, by which it stands in the covariance matrix of all random effects; in the
# order of lower_names(). lme4 has the effects of one unit side by side.
component_patterns <- function(m) {
  first <- getME(m, "Gp")
  blocks <- lapply(seq_along(first[-1L]), function(i) {
    k <- length(getME(m, "cnms")[[i]])
    unit <- seq(first[i], first[i + 1L] - 1L, by = k)
    pairs <- which(lower.tri(diag(k), TRUE), arr.ind = TRUE)
    lapply(seq_len(nrow(pairs)), function(p) {
      rows <- unit + pairs[p, 1L]
      columns <- unit + pairs[p, 2L]
      Matrix::sparseMatrix(
        i = pmax(rows, columns), j = pmin(rows, columns), x = 1, dims = rep(max(first), 2L),
        symmetric = TRUE
      )
    })
  })
  unlist(blocks, recursive = FALSE)
}

# y'P V_i P y and y'P V_i P V_j P y.
component_quadratic <- function(at, patterns) {
  s <- vapply(patterns, function(e) as.vector(e %*% at$zpy), at$zpy)
  low <- crossprod(at$zvx, s)
  second <- Matrix::crossprod(s, at$zvz %*% s) - crossprod(low, at$c %*% low)
  list(first = as.vector(crossprod(s, at$zpy)), second = as.matrix(second))
}

# tr(A V_i) and tr(A V_i A V_j).
component_traces <- function(at, patterns, reml) {
  te <- lapply(patterns, function(e) at$zvz %*% e)
  pairwise <- function(f) {
    outer(seq_along(patterns), seq_along(patterns), Vectorize(function(i, j) f(i, j)))
  }
  first <- vapply(te, function(x) sum(Matrix::diag(x)), 0)
  second <- pairwise(function(i, j) sum(te[[i]] * Matrix::t(te[[j]])))
  if (reml) {
    eb <- lapply(patterns, function(e) as.matrix(e %*% at$zvx))
    ceb <- lapply(eb, function(x) at$c %*% crossprod(at$zvx, x))
    first <- first - vapply(ceb, function(x) sum(diag(x)), 0)
    second <- second + pairwise(function(i, j) {
      sum(ceb[[i]] * t(ceb[[j]])) - 2 * sum(at$c * as.matrix(Matrix::crossprod(eb[[i]], at$zvz %*% eb[[j]])))
    })
  }
  list(first = first, second = second)
}

# With a row and a column for the residual variance, by V_0 = (V - sum(psi_k V_k)) / sigma2; `whole`
# is the first value for V itself.
with_residual <- function(first, second, psi, whole, sigma2) {
  beside <- (first - as.vector(second %*% psi)) / sigma2
  corner <- ((whole - sum(psi * first)) / sigma2 - sum(psi * beside)) / sigma2
  rbind(cbind(second, beside), c(beside, corner))
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
