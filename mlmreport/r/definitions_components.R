# Standard errors of variance components, and statistics by the definitions of other programs.

# Standard errors of the (co)variances and of the residual variance: from the observed information of
# the likelihood, or of the restricted one, in them with the fixed effects profiled out, which SAS, SPSS
# and Stata use. None at the boundary, or where the information is not positive definite.
component_errors <- function(m) {
  covariance <- component_covariance(m)
  if (is.null(covariance)) numeric() else sqrt(diag(covariance))
}

# The inverse of the information; NULL where there is none.
component_covariance <- function(m, at = precision_products(m)) {
  if (isSingular(m) || is.null(at)) {
    return(NULL)
  }
  covariance <- tryCatch(solve(component_information(m, at)), error = function(e) NULL)
  if (!is.null(covariance) && all(is.finite(covariance)) && all(diag(covariance) > 0)) covariance
}

# Standard errors of the fixed effects from the information of all parameters together, where those of
# lme4 take the (co)variances as known: (X'V^-1 X)^-1 + J C J', with C the covariance matrix of the
# (co)variances and J the derivatives of the fixed effects by them, -(X'V^-1 X)^-1 X'V^-1 V_i P y (the
# inverse of a partitioned matrix; Searle, Casella & McCulloch, 1992, Appendix M.5). So does glmmTMB,
# and so does a program that inverts one Hessian of all. None at the boundary.
joint_fixed_errors <- function(m) {
  at <- precision_products(m)
  covariance <- component_covariance(m, at)
  if (is.null(covariance)) {
    return(numeric())
  }
  moved <- crossprod(at$zvx, moved_by(at$zpy, component_places(m)))
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
component_information <- function(m, at = precision_products(m)) {
  places <- component_places(m)
  quadratic <- component_quadratic(at, places)
  traces <- component_traces(at, places, isREML(m))
  psi <- component_values(m)
  whole <- nobs(m) - if (isREML(m)) ncol(at$zvx) else 0L
  squares <- with_residual(quadratic$first, quadratic$second, psi, at$ypy, sigma(m)^2)
  information <- squares - with_residual(traces$first, traces$second, psi, whole, sigma(m)^2) / 2
  names <- c(unlist(Map(lower_names, VarCorr(m), block_groups(m))), "sigma2")
  dimnames(information) <- list(names, names)
  information
}

# Z'V^-1 Z, Z'V^-1 X, (X'V^-1 X)^-1, Z'P y and y'P y by Woodbury's identity. Of crossed groupings the
# first has no zeros: NULL where it would take more than `most` columns.
precision_products <- function(m, most = 5000L) {
  z <- getME(m, "Z")
  x <- getME(m, "X")
  lambda <- getME(m, "Lambda")
  wz <- z * weights(m)
  wx <- x * weights(m)
  residual <- getME(m, "y") - getME(m, "offset") - as.vector(x %*% fixef(m))
  zz <- Matrix::crossprod(z, wz)
  zx <- Matrix::crossprod(z, wx)
  zr <- Matrix::crossprod(wz, residual)
  inner <- Matrix::crossprod(lambda, zz %*% lambda)
  factor <- Matrix::Cholesky(Matrix::forceSymmetric(inner), Imult = 1)
  filled <- length(factor@x) > 50 * ncol(z)
  if (filled && ncol(z) > most) {
    return(NULL)
  }
  less <- function(whole, left, right) {
    left <- Matrix::crossprod(lambda, left)
    part <- Matrix::solve(factor, Matrix::crossprod(lambda, right))
    (whole - Matrix::crossprod(left, part)) / sigma(m)^2
  }
  zvz <- less(zz, zz, zz)
  list(
    zvz = if (filled) as.matrix(zvz) else zvz, zvx = as.matrix(less(zx, zz, zx)),
    c = solve(as.matrix(less(crossprod(x, wx), zx, zx))), zpy = as.vector(less(zr, zz, zr)),
    ypy = unname(m@devcomp$cmp[["pwrss"]]) / sigma(m)^2
  )
}

# For each (co)variance the columns of Z of its two effects, a unit of the grouping after another: E_i
# has a one where they meet. In the order of lower_names(); lme4 has the effects of one unit side by side.
component_places <- function(m) {
  first <- getME(m, "Gp")
  blocks <- lapply(seq_along(first[-1L]), function(i) {
    k <- length(getME(m, "cnms")[[i]])
    unit <- seq(first[i], first[i + 1L] - 1L, by = k)
    pairs <- which(lower.tri(diag(k), TRUE), arr.ind = TRUE)
    lapply(seq_len(nrow(pairs)), function(p) list(a = unit + pairs[p, 1L], b = unit + pairs[p, 2L]))
  })
  unlist(blocks, recursive = FALSE)
}

# Its two halves, or for a variance the one place.
halves <- function(place) {
  if (identical(place$a, place$b)) list(place) else list(place, list(a = place$b, b = place$a))
}

# E_i x for each (co)variance, x a vector or a matrix with a row a column of Z.
moved_rows <- function(x, place) {
  found <- 0 * x
  for (half in halves(place)) found[half$a, ] <- x[half$b, ]
  found
}
moved_by <- function(x, places) {
  vapply(places, function(place) as.vector(moved_rows(cbind(x), place)), x)
}

# y'P V_i P y and y'P V_i P V_j P y.
component_quadratic <- function(at, places) {
  s <- moved_by(at$zpy, places)
  low <- crossprod(at$zvx, s)
  second <- Matrix::crossprod(s, at$zvz %*% s) - crossprod(low, at$c %*% low)
  list(first = as.vector(crossprod(s, at$zpy)), second = as.matrix(second))
}

# tr(A V_i) and tr(A V_i A V_j).
component_traces <- function(at, places, reml) {
  parts <- lapply(places, halves)
  over <- function(f, i, j) sum(vapply(parts[[i]], function(p) sum(vapply(parts[[j]], function(q) f(p, q), 0)), 0))
  once <- function(p, q) sum(at$zvz[q$b, p$a, drop = FALSE] * at$zvz[q$a, p$b, drop = FALSE])
  pairwise <- function(f) outer(seq_along(places), seq_along(places), Vectorize(f))
  first <- vapply(parts, function(own) sum(vapply(own, function(p) sum(at$zvz[cbind(p$a, p$b)]), 0)), 0)
  second <- pairwise(function(i, j) over(once, i, j))
  if (reml) {
    eb <- lapply(places, function(place) moved_rows(at$zvx, place))
    ceb <- lapply(eb, function(x) at$c %*% crossprod(at$zvx, x))
    tb <- lapply(eb, function(x) as.matrix(at$zvz %*% x))
    first <- first - vapply(ceb, function(x) sum(diag(x)), 0)
    second <- second + pairwise(function(i, j) {
      sum(ceb[[i]] * t(ceb[[j]])) - 2 * sum(at$c * crossprod(eb[[i]], tb[[j]]))
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
