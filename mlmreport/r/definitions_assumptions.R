# Statistics of the checks of the assumptions, each with its source. As definitions.R it goes word
# for word into every reproduce.R.

# --- influence of groups ----------------------------------------------------------------------

# The equations of a fit whose variance parameters are held at their estimates: with U = Lambda' Z',
# V = sigma2 (I + U'U), the fixed effects solve A beta = b, A = X'X - X'U'(UU' + I)^-1 U X (times
# 1 / sigma2), and b likewise with y (Henderson; Bates et al., 2015, eq. 18-20).
equations_of <- function(m) {
  u <- scaled_random(m)
  xy <- cbind(scaled_fixed(m), scaled_outcome(m))
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
  found <- over_blocks(in_blocks(levels(g), 100L), fixed_without, e = equations_of(m), g = g)
  found <- do.call(rbind, found)
  dimnames(found) <- list(levels(g), names(fixef(m)))
  found
}

fixed_without <- function(units, e, g) {
  p <- ncol(e$xy) - 1L
  found <- vapply(units, function(unit) {
    rows <- which(g == unit)
    u <- e$u[, rows, drop = FALSE]
    xy <- e$xy[rows, , drop = FALSE]
    left <- solve_fixed(
      e$m - Matrix::tcrossprod(u), e$uxy - u %*% xy, e$cross - crossprod(xy)
    )
    if (is.null(left)) rep(NA_real_, p) else as.vector(left$beta)
  }, numeric(p))
  matrix(found, length(units), p, byrow = TRUE)
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

# The value that is farthest from zero.
largest_of <- function(x) if (all(is.na(x))) NA_real_ else x[[which.max(abs(x))]]

# Change of a fixed effect in a refit, in standard errors of the first fit; and the largest such
# change of the first fit's effects. Both take the fixed_part of each fit.
change_in_se <- function(fixed, refit, term) {
  (refit$estimate[[term]] - fixed$estimate[[term]]) / fixed$se[[term]]
}
largest_change <- function(fixed, refit) {
  max(abs(refit$estimate[names(fixed$estimate)] - fixed$estimate) / fixed$se)
}

# Largest difference of the covariance matrices of the random effects of two fits: of each element, over
# the geometric mean of the larger variances of its two effects. Each effect counts by what it adds to
# the outcome, its column's root mean square times its SD; less than a hundredth of the residual SD
# counts as that much, so that two numerical zeros do not differ.
covariance_change <- function(m, other, least = 0.01) {
  change <- Map(function(a, b, z) {
    size <- outer(sqrt(colMeans(z^2)), sqrt(colMeans(z^2))) / sigma(m)^2
    a <- as.matrix(a) * size
    b <- as.matrix(b) * size
    larger <- sqrt(pmax(diag(a), diag(b), least^2))
    max(abs(a - b) / outer(larger, larger))
  }, unclass(VarCorr(m)), unclass(VarCorr(other)), getME(m, "mmList"))
  max(unlist(change))
}

# Relative change of a variance component in a refit.
relative_change <- function(before, after) (after - before) / before

# --- equal level-1 variances ------------------------------------------------------------------

# Bartlett's test of equal level-1 variances over the groups of `g` (Bartlett, 1937), with residual
# variances from an OLS regression in each unit of `lowest`, pooled within the groups of `g`, and
# their degrees of freedom; units and groups with fewer than `least` are left out. Unlike the
# normal approximation of ln S_j^2 it keeps its level with few degrees of freedom a group.
bartlett_homogeneity <- function(m, lowest, g = lowest, least = 3) {
  x <- within_columns(m, lowest) * row_scale(m)
  y <- scaled_outcome(m)
  fits <- vapply(split(seq_along(y), lowest), function(rows) {
    if (length(rows) < 2L) {
      return(c(0, 0))
    }
    fit <- lm.fit(x[rows, , drop = FALSE], y[rows])
    c(fit$df.residual, sum(fit$residuals^2))
  }, c(0, 0))
  of <- g[match(levels(lowest), lowest)]
  f <- as.vector(tapply(fits[1L, ], of, sum))
  s2 <- as.vector(tapply(fits[2L, ], of, sum)) / f
  kept <- !is.na(f) & f >= least & s2 > 1e-12 * var(y)
  if (sum(kept) < 2L) {
    undefined(
      "fewer than two groups have the ", least, " residual degrees of freedom that the test asks for"
    )
  }
  f <- f[kept]
  s2 <- s2[kept]
  pooled <- sum(f * s2) / sum(f)
  correction <- 1 + (sum(1 / f) - 1 / sum(f)) / (3 * (length(f) - 1))
  k <- (sum(f) * log(pooled) - sum(f * log(s2))) / correction
  list(
    K = k, df = length(f) - 1, p = pchisq(k, length(f) - 1, lower.tail = FALSE),
    groups = length(f), least = min(f)
  )
}

# --- outlying rows ----------------------------------------------------------------------------

# Level-1 residuals, times the root of the prior weight, over the residual SD.
scaled_residuals <- function(m) residuals(m, type = "pearson") / sigma(m)

# Rows whose residual is beyond `most` SDs, the farthest first.
outlying_rows <- function(m, most = 3.29) {
  e <- abs(scaled_residuals(m))
  rows <- order(-e)[seq_len(sum(e > most))]
  as.vector(rows)
}

# --- equal spread -----------------------------------------------------------------------------

# SDs of e in the lowest, the middle and the highest fifth of x, the ratio of the outer two and that
# of the middle one to their root mean square; ties go with the fifth.
fifths <- function(x, e) {
  x <- levelled(x)
  ends <- quantile(x, c(0.2, 0.4, 0.6, 0.8), names = FALSE)
  if (ends[1L] >= ends[4L]) undefined("most rows have the same value, so there are no fifths")
  low <- sd(e[x <= ends[1L]])
  high <- sd(e[x >= ends[4L]])
  inner <- e[x >= ends[2L] & x <= ends[3L]]
  middle <- if (length(inner) > 1L) sd(inner) else NA
  c(
    low = low, middle = middle, high = high, ratio = high / low,
    bend = middle / sqrt((low^2 + high^2) / 2)
  )
}

# Spearman's test that absolute residuals do not rise or fall with x (t approximation).
spread_test <- function(x, e) {
  suppressWarnings(cor.test(levelled(x), levelled(abs(e)), method = "spearman", exact = FALSE))
}

# Values closer than 1e-9 of their SD made equal: fitted values that a design makes equal differ by
# rounding, and ranks and fifths should not hang on that.
levelled <- function(x) {
  order_ <- order(x)
  new <- c(TRUE, diff(x[order_]) > 1e-9 * sd(x))
  x[order_] <- x[order_][new][cumsum(new)]
  x
}

# Test that the variance of e is the same along x, which sees a V or its reverse too: n R^2 of squared
# residuals on x and x^2, chi-square on the rank (Koenker, 1981; the terms are those of White, 1980).
variance_test <- function(x, e) {
  if (sd(x) < 1e-10 * max(abs(x))) undefined("all rows have the same value")
  z <- (x - mean(x)) / sd(x)
  fit <- lm.fit(cbind(1, z, z^2), e^2)
  statistic <- length(e) * (1 - var(fit$residuals) / var(e^2))
  df <- fit$rank - 1
  list(statistic = statistic, df = df, p = pchisq(statistic, df, lower.tail = FALSE))
}

# --- random effects and predictors ------------------------------------------------------------

# The data with the group means of some columns of the fixed-effects design (Mundlak, 1978):
# `names` are the new columns. Where a column is in the model as it is, the coefficient of its
# group mean is the between-group effect less the within-group effect.
# `groupings` names the grouping of each.
with_group_means <- function(m, data, columns, names, groupings) {
  data[names] <- Map(function(column, g) {
    ave(getME(m, "X")[, column], data[[g]])
  }, columns, groupings)
  data
}

# Joint F test that linear combinations `l` of the coefficients are zero, with Satterthwaite's
# denominator df of several combinations (Kuznetsova, Brockhoff & Christensen, 2017).
joint_f <- function(m, l) {
  lmerTest::contestMD(with_df(m), l, ddf = "Satterthwaite")
}

# The matrix of combinations "first less second", a row a pair of coefficients; an empty second is 0.
differences <- function(m, first, second) {
  l <- matrix(0, length(first), length(fixef(m)), dimnames = list(NULL, names(fixef(m))))
  l[cbind(seq_along(first), match(first, names(fixef(m))))] <- 1
  less <- which(nzchar(second))
  l[cbind(less, match(second[less], names(fixef(m))))] <- -1
  l
}

# The coefficients of a refit, each with its t test by Satterthwaite's df.
satterthwaite <- function(m) t_tests(with_df(m), "Satterthwaite")

# H with H'H = A'(UU' + I)^-1 A, by a sparse Cholesky factor: sparse where groupings are nested.
# Not for systems whose factor fills up, as with thousands of crossed groups.
half_solved <- function(u, a, most = 2e7) {
  factor_ <- Matrix::Cholesky(Matrix::tcrossprod(u), LDL = FALSE, super = FALSE, Imult = 1)
  if (length(factor_@x) / nrow(u) * ncol(a) > most) {
    undefined("it is not computed for so many crossed random effects")
  }
  Matrix::solve(factor_, Matrix::solve(factor_, a, system = "P"), system = "L")
}

# Standardised squared length of each group's random effects, u' Cov(u)^- u, with the covariance of
# the conditional modes Cov(u) = T - Var(u | y), fixed effects taken as known, a generalised inverse
# and its rank where a group's rows cannot tell its effects apart; chi-square on the rank
# (Snijders & Bosker, 2012, section 10.6).
mode_distance <- function(m, group) {
  u <- scaled_random(m)
  half <- half_solved(u, as(Matrix::Diagonal(nrow(u)), "CsparseMatrix"))
  l <- Matrix::t(getME(m, "Lambdat"))
  at <- do.call(cbind, random_positions(m)[[group]])
  modes <- getME(m, "b")
  found <- t(apply(at, 1L, function(i) {
    li <- as.matrix(l[i, i])
    known <- diag(length(i)) - as.matrix(Matrix::crossprod(half[, i, drop = FALSE]))
    v <- eigen(sigma(m)^2 * li %*% known %*% t(li), symmetric = TRUE)
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
  x <- levelled(x)
  smooth <- lowess(x, e)
  ends <- quantile(x, c(0.025, 0.975))
  inside <- smooth$x >= ends[1L] & smooth$x <= ends[2L]
  max(abs(smooth$y[inside])) / sd(e)
}

# The data with squares of columns about their means, each less its own mean, so that an intercept
# keeps its meaning: of the rows (`kind` ""), of deviations from
# group means ("within"), of group means ("between").
with_squares <- function(data, columns, kinds, names, g) {
  data[names] <- Map(function(column, kind) {
    x <- data[[column]]
    x <- switch(kind, within = x - ave(x, g), between = ave(x, g), x)
    (x - mean(x))^2 - mean((x - mean(x))^2)
  }, columns, kinds)
  data
}

# Effects of the groups at the means of all that their random effects are multiplied by: where slopes
# vary, a conditional mode of the intercept is one at zero, far from the data or not.
modes_at_means <- function(m, group) {
  columns <- getME(m, "mmList")[block_groups(m) == group]
  at <- unlist(lapply(unname(columns), colMeans))
  modes <- as.matrix(modes_of(m, group))
  as.vector(modes %*% at[colnames(modes)])
}

# The same less the straight line through them over the groups' values or means of x, which is a
# between-group effect that differs from that of the model and no bend.
effects_less_line <- function(m, group, x) {
  residuals(lm(modes_at_means(m, group) ~ raw_means(x, getME(m, "flist")[[group]])))
}

# --- transformed outcomes ---------------------------------------------------------------------

# Weights of the coefficients for the expected outcome at the mean of every column of the design,
# but for `term` at `value` and the columns `zero` at 0.
weights_at <- function(m, term, value, zero = character()) {
  weights <- colMeans(getME(m, "X"))
  weights[zero] <- 0
  weights[term] <- value
  weights
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
expected_lag_one <- function(m, g, time) {
  expected_product(m, successive_rows(g, time))
}

# The expected mean product of the residuals of pairs of rows over the expected mean square of all.
expected_product <- function(m, at) {
  u <- scaled_random(m)
  x <- scaled_fixed(m)
  shared <- half_solved(u, u)
  vx <- x - as.matrix(Matrix::crossprod(shared, half_solved(u, as(u %*% x, "CsparseMatrix"))))
  fixed <- t(forwardsolve(t(chol(crossprod(x, vx))), t(vx)))
  entry <- function(i, j) {
    as.numeric(i == j) - Matrix::colSums(shared[, i] * shared[, j]) -
      rowSums(fixed[i, , drop = FALSE] * fixed[j, , drop = FALSE])
  }
  all_ <- seq_len(nrow(x))
  mean(entry(at$first, at$second)) / mean(entry(all_, all_))
}

# Pairs of rows of the same group up to `most` positions apart in the order of time, and how far
# apart they are in time.
pairs_in_time <- function(g, time, most = 5L) {
  order_ <- order(g, time)
  n <- length(order_)
  found <- lapply(seq_len(min(most, n - 1L)), function(k) {
    first <- order_[seq_len(n - k)]
    second <- order_[seq_len(n - k) + k]
    same <- g[first] == g[second]
    data.frame(first = first[same], second = second[same])
  })
  found <- do.call(rbind, found)
  found$distance <- signif(time[found$second] - time[found$first], 8L)
  found
}

# Autocorrelation of level-1 residuals by distance in time, at the distinct distances where they are
# at most `bins`, else in bins of about as many pairs: what a lag in positions hides where occasions
# are unequally spaced (cf. the semivariogram of Diggle, Heagerty, Liang & Zeger, 2002).
autocorrelation_by_distance <- function(m, g, time, bins = 5L, least = 20L) {
  pairs <- pairs_in_time(g, time)
  pairs <- pairs[pairs$distance > 0, , drop = FALSE]
  distinct <- sort(unique(pairs$distance))
  if (length(distinct) > bins) {
    ends <- unique(quantile(pairs$distance, seq(0, 1, length.out = bins + 1L), names = FALSE))
    bin <- cut(pairs$distance, ends, include.lowest = TRUE)
  } else {
    bin <- factor(pairs$distance)
  }
  parts <- split(pairs, bin)
  parts <- parts[vapply(parts, nrow, 0L) >= least]
  if (!length(parts)) undefined("no distance in time has ", least, " pairs of measurements")
  e <- residuals(m, type = "pearson")
  do.call(rbind, lapply(parts, function(at) {
    data.frame(
      from = min(at$distance), to = max(at$distance), pairs = nrow(at),
      correlation = mean(e[at$first] * e[at$second]) / mean(e^2),
      expected = expected_product(m, at)
    )
  }))
}

# The groupings of a model with that of its repeated measures, the outermost first; nlme nests each
# in the one before it.
nested_groupings <- function(m, g) {
  found <- c(as.list(getME(m, "flist")), list(g))
  found <- found[!duplicated(lapply(found, as.integer))]
  found <- found[order(vapply(found, nlevels, 0L))]
  for (k in seq_along(found)[-1L]) {
    if (any(rowSums(table(found[[k]], found[[k - 1L]]) > 0) > 1L)) {
      undefined("nlme fits such errors within nested groupings only, and those of the model cross")
    }
  }
  found
}

# The model with errors that follow a continuous-time autoregressive process within groups, whose
# correlation is phi to the power of the distance in time (Pinheiro & Bates, 2000, section 5.3), for
# nested groupings. `covariances` are those of the random effects, named as in VarCorr(m).
correlated_errors <- function(m, g, time, most = 20000) {
  groupings <- nested_groupings(m, g)
  if (nobs(m) > most) undefined("it is not fitted for more than ", most, " rows")
  if (anyDuplicated(data.frame(g, time))) {
    undefined("some units were measured twice at the same time")
  }
  x <- getME(m, "X")
  z <- getME(m, "mmList")
  data <- data.frame(
    y = getME(m, "y") - getME(m, "offset"), time = time, v = 1 / as.vector(weights(m))
  )
  units <- paste0("u", seq_along(groupings))
  data[units] <- groupings
  data[paste0("x", seq_len(ncol(x)))] <- as.data.frame(x)
  columns <- lapply(seq_along(z), function(k) paste0("z", k, "_", seq_len(ncol(z[[k]]))))
  for (k in seq_along(z)) data[columns[[k]]] <- as.data.frame(z[[k]])
  own <- match(block_groups(m), names(groupings))
  random <- lapply(split(columns, own), function(of) {
    blocks <- lapply(of, function(names_) nlme::pdSymm(reformulate(names_, intercept = FALSE)))
    if (length(blocks) > 1L) nlme::pdBlocked(blocks) else blocks[[1L]]
  })
  names(random) <- units[as.integer(names(random))]
  fixed <- reformulate(paste0("x", seq_len(ncol(x))), "y", intercept = FALSE)
  within <- as.formula(paste("~ time |", paste(units, collapse = "/")))
  fit <- tryCatch(
    nlme::lme(
      fixed, data = data, random = random, method = if (isREML(m)) "REML" else "ML",
      correlation = nlme::corCAR1(form = within),
      weights = if (any(data$v != 1)) nlme::varFixed(~v),
      control = nlme::lmeControl(
        opt = "optim", maxIter = 200, msMaxIter = 200, tolerance = 1e-8, msTol = 1e-10
      )
    ),
    error = function(e) undefined("nlme's optimiser finds no such model for these data")
  )
  covariances <- lapply(seq_along(z), function(k) {
    found <- as.matrix(fit$modelStruct$reStruct[[units[own[k]]]]) * fit$sigma^2
    matrix(
      found[columns[[k]], columns[[k]]], ncol(z[[k]]), dimnames = dimnames(VarCorr(m)[[k]])
    )
  })
  list(
    estimate = setNames(nlme::fixef(fit), colnames(x)),
    se = setNames(sqrt(diag(fit$varFix)), colnames(x)),
    phi = coef(fit$modelStruct$corStruct, unconstrained = FALSE)[[1L]],
    covariances = setNames(covariances, names(VarCorr(m))), sigma = fit$sigma,
    loglik = as.numeric(logLik(fit))
  )
}
