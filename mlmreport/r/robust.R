# Cluster-robust standard errors of fixed effects on compressed data (compression.R), for clusters too
# large for matrices of their size.
#
#   robust_tests_of(m, problem, by)  the fixed effects of a mixed model, with t tests
#   pooled_rows(problem)             the same fixed part by least squares
#   robust_pooled(problem, by)       its robust covariance
#
# CR2 (Bell & McCaffrey, 2002; Pustejovsky & Tipton, 2018) multiplies the residuals of a cluster by
# A_j = U_j'(U_j (V_j - X_j M X_j') U_j')^(-1/2) U_j, where V_j = U_j'U_j is the covariance of its rows by the
# model and M = (X'V^-1 X)^-1. A rotation of the rows of a cluster takes A_j with it, and rows in which X and Z
# are zero, which is what the compression leaves out, have no part in X_j'V_j^-1 A_j: so the compressed rows
# give what all rows give. Prior weights are no rotation.

robust_tests_of <- function(m, problem, by) {
  factors <- getME(m, "Tlist")
  found <- robust_parts(problem, by, fixef(m), function(rows) {
    v <- diag(length(rows))
    for (t in seq_along(factors)) {
      level <- problem$level[[t]][rows]
      v <- v + outer(level, level, `==`) * tcrossprod(problem$z[[t]][rows, , drop = FALSE] %*% factors[[t]])
    }
    sigma(m)^2 * v
  })
  se <- sqrt(diag(found$vcov))
  data.frame(SE = se, df_Satt = found$df, p_Satt = 2 * pt(-abs(fixef(m) / se), found$df))
}

# What coef() and vcov() ask of lm() on all rows.
pooled_rows <- function(problem) {
  q <- qr(problem$x)
  sigma2 <- (sum(qr.resid(q, problem$y)^2) + sum(problem$rss)) / (problem$n - ncol(problem$x))
  terms <- problem$beta_names
  structure(list(
    coefficients = setNames(qr.coef(q, problem$y), terms),
    covariance = structure(sigma2 * chol2inv(qr.R(q)), dimnames = list(terms, terms))
  ), class = "pooled_rows")
}
vcov.pooled_rows <- function(object, ...) object$covariance

robust_pooled <- function(problem, by) {
  robust_parts(problem, by, qr.coef(qr(problem$x), problem$y), function(rows) diag(length(rows)))$vcov
}

# The robust covariance of the coefficients `beta`, and the Satterthwaite df of each: with
# a_j = A_j'V_j^-1 X_j M c and b_j = X_j'a_j, the robust variance of c'beta is a quadratic form with the
# elements [i = j] a_i'V_i a_i - b_i'M b_j. `covariance` gives that of some rows.
robust_parts <- function(problem, by, beta, covariance) {
  rows <- split(seq_along(problem$y), problem$level[[match(by, problem$group)]])
  x <- lapply(rows, function(at) problem$x[at, , drop = FALSE])
  roots <- lapply(rows, function(at) chol(covariance(at)))
  whitened <- Map(function(u, x) backsolve(u, x, transpose = TRUE), roots, x)
  bread <- chol2inv(qr.R(qr(do.call(rbind, whitened))))
  e <- as.vector(problem$y - problem$x %*% beta)
  parts <- Map(function(at, x, u, white) {
    v <- crossprod(u)
    adjustment <- crossprod(u, inverse_root(u %*% (v - x %*% bread %*% t(x)) %*% t(u)) %*% u)
    weighted_x <- backsolve(u, white)
    a <- crossprod(adjustment, weighted_x) %*% bread
    list(
      score = as.vector(crossprod(weighted_x, adjustment %*% e[at])), variance = colSums(a * (v %*% a)),
      b = crossprod(x, a)
    )
  }, rows, x, roots, whitened)
  scores <- matrix(unlist(lapply(parts, `[[`, "score")), length(beta))
  df <- vapply(seq_along(beta), function(k) {
    b <- matrix(unlist(lapply(parts, function(part) part$b[, k])), length(beta))
    satterthwaite_of_form(vapply(parts, function(part) part$variance[k], 0), b, bread)
  }, 0)
  list(vcov = bread %*% tcrossprod(scores) %*% bread, df = df)
}

# The squared trace over the trace of the square of a matrix with the elements
# [i = j] variance_i - b_i'M b_j, b_i a column of `b`, without a row and a column for each cluster:
# the sum of all (b_i'M b_j)^2 is the trace of (M b b')^2.
satterthwaite_of_form <- function(variance, b, m) {
  shared <- colSums(b * (m %*% b))
  all <- m %*% tcrossprod(b)
  sum(variance - shared)^2 / (sum(variance^2 - 2 * variance * shared) + sum(all * t(all)))
}

# The inverse square root of a symmetric matrix, zero where the matrix is.
inverse_root <- function(b) {
  e <- eigen(b, symmetric = TRUE)
  kept <- e$values > 1e-12 * max(e$values)
  e$vectors %*% (ifelse(kept, 1 / sqrt(pmax(e$values, 1e-300)), 0) * t(e$vectors))
}
