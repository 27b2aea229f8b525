# Statistics of the checks of the assumptions, each with its source. As definitions.R it goes word
# for word into every reproduce.R.

# --- influence of groups ----------------------------------------------------------------------

# The equations of a fit whose variance parameters are held at their estimates: with U = Lambda' Z',
# V = sigma2 (I + U'U), the fixed effects solve A beta = b, A = X'X - X'U'(UU' + I)^-1 U X (times
# 1 / sigma2), and b likewise with y (Henderson; Bates et al., 2015, eq. 18-20).
equations_of <- function(m) {
  x <- getME(m, "X")
  u <- getME(m, "Lambdat") %*% getME(m, "Zt")
  xy <- cbind(x, getME(m, "y") - getME(m, "offset"))
  list(
    u = u, xy = xy, m = Matrix::tcrossprod(u) + Matrix::Diagonal(nrow(u)), uxy = u %*% xy,
    cross = crossprod(xy)
  )
}

# A and b from the cross-products; NULL where the fixed effects cannot be estimated from them.
solve_fixed <- function(m, uxy, cross) {
  reduced <- cross - as.matrix(Matrix::crossprod(uxy, Matrix::solve(m, uxy)))
  p <- ncol(cross) - 1L
  a <- reduced[seq_len(p), seq_len(p), drop = FALSE]
  scale <- 1 / sqrt(pmax(diag(a), .Machine$double.xmin))
  if (any(diag(a) <= 1e-8 * diag(cross)[seq_len(p)]) || rcond(a * outer(scale, scale)) < 1e-10) {
    return(NULL)
  }
  list(a = a, beta = solve(a, reduced[seq_len(p), p + 1L]))
}

# Fixed effects without each group in turn, the variance parameters held at their estimates
# (Christensen, Pearson & Johnson, 1992), a row a group. With the rows I of a group left out,
# X'X, UX and UU' + I lose X_I'X_I, U_I X_I and U_I U_I', which is exact for nested and for crossed
# groupings. NA where a coefficient rests on the group alone.
fixed_without_groups <- function(m, g, most = 3000) {
  if (nlevels(g) > most) undefined("it is not computed for more than ", most, " groups")
  e <- equations_of(m)
  p <- ncol(e$xy) - 1L
  found <- t(vapply(levels(g), function(unit) {
    rows <- which(g == unit)
    u <- e$u[, rows, drop = FALSE]
    xy <- e$xy[rows, , drop = FALSE]
    left <- solve_fixed(
      e$m - Matrix::tcrossprod(u), e$uxy - u %*% xy, e$cross - crossprod(xy)
    )
    if (is.null(left)) rep(NA_real_, p) else as.vector(left$beta)
  }, numeric(p)))
  matrix(found, nlevels(g), p, dimnames = list(levels(g), names(fixef(m))))
}

# Cook's distance of each group: (beta - beta_(-j))' C^-1 (beta - beta_(-j)) / p with the estimated
# covariance matrix C of all groups' fixed effects (Christensen, Pearson & Johnson, 1992).
group_cook <- function(m, without) {
  change <- sweep(without, 2L, fixef(m))
  as.vector(rowSums((change %*% solve(as.matrix(vcov(m)))) * change) / ncol(without))
}

# DFBETAS of each group and coefficient: (beta_k - beta_k(-j)) / SE_k, the SE that of all groups.
group_dfbetas <- function(m, without) {
  sweep(-sweep(without, 2L, fixef(m)), 2L, sqrt(diag(as.matrix(vcov(m)))), "/")
}

# The groups of the `most` largest Cook's distances, largest first.
most_influential <- function(cook, groups, most = 3) {
  groups[order(-cook)][seq_len(min(most, sum(!is.na(cook))))]
}

# Change of a fixed effect in a refit, in standard errors of the first fit.
change_in_se <- function(m, refit, term) {
  (fixef(refit)[[term]] - fixef(m)[[term]]) / sqrt(vcov(m)[term, term])
}

# Relative change of a variance component in a refit.
relative_change <- function(before, after) (after - before) / before

# --- random effects and predictors ------------------------------------------------------------

# The data with the group means of some columns of the fixed-effects design (Mundlak, 1978):
# `names` are the new columns. Where a column is in the model as it is, the coefficient of its
# group mean is the between-group effect less the within-group effect.
with_group_means <- function(m, data, columns, names, g) {
  data[names] <- lapply(columns, function(column) ave(getME(m, "X")[, column], g))
  data
}

# The coefficients of a refit, each with its t test by Satterthwaite's df.
satterthwaite <- function(m) coef(summary(lmerTest::as_lmerModLmerTest(m), ddf = "Satterthwaite"))

# Standardised squared length of each group's random effects, u' Cov(u)^- u, with the covariance of
# the conditional modes Cov(u) = T - Var(u | y), fixed effects taken as known, a generalised inverse
# and its rank where a group's rows cannot tell its effects apart; chi-square on the rank
# (Snijders & Bosker, 2012, section 10.6).
mode_distance <- function(m, group, most = 3000) {
  q <- sum(getME(m, "q"))
  if (q > most) undefined("it is not computed for models of more than ", most, " random effects")
  u <- getME(m, "Lambdat") %*% getME(m, "Zt")
  known <- diag(q) - as.matrix(Matrix::solve(Matrix::tcrossprod(u) + Matrix::Diagonal(q)))
  l <- Matrix::t(getME(m, "Lambdat"))
  at <- do.call(cbind, random_positions(m)[[group]])
  modes <- getME(m, "b")
  found <- t(apply(at, 1L, function(i) {
    li <- as.matrix(l[i, i])
    v <- eigen(sigma(m)^2 * li %*% known[i, i] %*% t(li), symmetric = TRUE)
    keep <- v$values > 1e-8 * sum(diag(as.matrix(li %*% t(li)))) * sigma(m)^2
    c(
      distance = sum(crossprod(v$vectors[, keep, drop = FALSE], modes[i])^2 / v$values[keep]),
      df = sum(keep)
    )
  }))
  data.frame(
    group = levels(getME(m, "flist")[[group]]), distance = found[, "distance"], df = found[, "df"],
    p = pchisq(found[, "distance"], found[, "df"], lower.tail = FALSE)
  )
}

# --- linearity --------------------------------------------------------------------------------

# Largest distance from zero of the lowess smooth of e on x within the central 95 % of x, in
# standard deviations of e.
smooth_departure <- function(x, e) {
  smooth <- lowess(x, e)
  ends <- quantile(x, c(0.025, 0.975))
  inside <- smooth$x >= ends[1L] & smooth$x <= ends[2L]
  max(abs(smooth$y[inside])) / sd(e)
}

# --- collinearity -----------------------------------------------------------------------------

# Generalised variance inflation of a term of one or more coefficients: det(R_11) det(R_22) / det(R)
# from the correlation matrix R of the estimates without the intercept (Fox & Monette, 1992, eq. 10).
# For one coefficient it is the usual variance inflation factor.
generalised_inflation <- function(m, term) {
  v <- as.matrix(vcov(m))
  others <- setdiff(colnames(v), c("(Intercept)", term))
  r <- cov2cor(v[c(term, others), c(term, others), drop = FALSE])
  det(r[term, term, drop = FALSE]) * det(r[others, others, drop = FALSE]) / det(r)
}

# --- repeated measures ------------------------------------------------------------------------

# Positions of successive rows of the same group in the order of time.
successive_rows <- function(g, time) {
  order_ <- order(g, time)
  same <- g[order_][-1L] == g[order_][-length(order_)]
  list(first = order_[-length(order_)][same], second = order_[-1L][same])
}

# Autocorrelation at lag 1 of level-1 residuals within groups in the order of time: the mean product
# of successive residuals over the mean square of all (Pinheiro & Bates, 2000, section 5.3).
lag_one <- function(e, g, time) {
  at <- successive_rows(g, time)
  if (!length(at$first)) undefined("no group has two measurements")
  mean(e[at$first] * e[at$second]) / mean(e^2)
}

# What `lag_one` is expected to be where the errors are independent: residuals are sigma2 P y, with
# covariance sigma2^2 P, P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1 (Searle, Casella & McCulloch, 1992),
# and are correlated even then, as intercepts and slopes are estimated from the same rows.
expected_lag_one <- function(m, g, time, most = 3000) {
  if (sum(getME(m, "q")) > most) {
    undefined("it is not computed for models of more than ", most, " random effects")
  }
  at <- successive_rows(g, time)
  u <- getME(m, "Lambdat") %*% getME(m, "Zt")
  x <- getME(m, "X")
  half <- t(chol(as.matrix(Matrix::tcrossprod(u)) + diag(nrow(u))))
  shared <- forwardsolve(half, as.matrix(u))
  vx <- x - crossprod(shared, forwardsolve(half, as.matrix(u %*% x)))
  fixed <- t(forwardsolve(t(chol(crossprod(x, vx))), t(vx)))
  entry <- function(i, j) {
    as.numeric(i == j) - colSums(shared[, i] * shared[, j]) - rowSums(fixed[i, ] * fixed[j, ])
  }
  all_ <- seq_len(nrow(x))
  mean(entry(at$first, at$second)) / mean(entry(all_, all_))
}
