# Statistics of the structure and of the variance split, each with its source.
#
# Goes into every reproduce.R after definitions.R, so it uses lme4 and base R only.

# --- structure ------------------------------------------------------------------------------------

# Units of `lower` that stand in more than one unit of `upper`; 0 where the ids are nested.
units_in_several <- function(lower, upper) {
  pairs <- unique(data.frame(lower, upper))
  length(unique(pairs$lower[duplicated(pairs$lower)]))
}

# How many units of `b` each unit of `a` stands with.
partners <- function(a, b) group_sizes(unique(data.frame(a, b))$a)

# Shares of a variable's variance for groupings that are nested or crossed in any way, from variance
# components by equating sums of squares to their expectations (Henderson, 1953, method 1; Searle,
# Casella & McCulloch, 1992, ch. 5). With one grouping this is the analysis-of-variance estimator:
# unlike eta squared, about (J - 1) / (n - 1) under independence, its expectation there is 0. Negative
# components count as 0. A category stands for its indicators, their components added up.
variance_shares <- function(x, groups) {
  x <- if (is.factor(x)) outer(as.integer(x), seq_along(levels(x)), `==`) + 0 else cbind(x + 0)
  x <- sweep(x, 2L, colMeans(x))
  groups <- lapply(groups, droplevels)
  n <- nrow(x)
  squares <- c(vapply(groups, function(g) sum(rowsum(x, g)^2 / group_sizes(g)), 0), sum(x^2))
  expected <- rbind(
    cbind(
      outer(seq_along(groups), seq_along(groups), Vectorize(function(i, k) {
        cells_over_sizes(groups[[i]], groups[[k]])
      })),
      vapply(groups, nlevels, 0L)
    ),
    n
  )
  of_mean <- c(vapply(groups, function(g) sum(group_sizes(g)^2) / n, 0), 1)
  found <- tryCatch(solve(sweep(expected, 2L, of_mean), squares), error = function(e) NULL)
  if (is.null(found)) undefined("these data do not tell the groupings apart for this variable")
  if (sum(x^2) <= 0) undefined("the variable has one value only")
  found <- pmax(found, 0)
  setNames(found / sum(found), c(names(groups), "residual"))
}

# Sum over the cells of two groupings of the squared cell size, over the size of its unit of `a`.
cells_over_sizes <- function(a, b) {
  code <- (as.integer(b) - 1) * nlevels(a) + as.integer(a)
  cells <- table(code)
  unit <- (as.numeric(names(cells)) - 1) %% nlevels(a) + 1
  sum(as.vector(cells)^2 / group_sizes(a)[unit])
}

# Combinations of two crossed groupings that hold at least one row.
occupied_cells <- function(a, b) nrow(unique(data.frame(a, b)))

# Steps between successive distinct occasions.
occasion_steps <- function(x) diff(sort(unique(x)))

# The first and the last occasion at which each group was observed, and whether none between them is
# missing.
first_occasion <- function(x, g) as.vector(tapply(x, g, min))
last_occasion <- function(x, g) as.vector(tapply(x, g, max))
without_gap <- function(x, g) {
  all_ <- sort(unique(x))
  seen <- as.vector(tapply(x, g, function(v) length(unique(v))))
  seen == match(last_occasion(x, g), all_) - match(first_occasion(x, g), all_) + 1
}

# Effective number of units per group in the variance of group-level effects: the harmonic mean.
harmonic_mean <- function(x) length(x) / sum(1 / x)

# Standard errors of a standardised regression coefficient in a balanced two-level design with
# intraclass correlation `icc` and an outcome of variance 1 (Snijders & Bosker, 2012, ch. 11): of a
# predictor that varies within groups only (variance 1 there), and of one that varies between.
planned_se_within <- function(icc, n) sqrt((1 - icc) / n)
planned_se_between <- function(icc, sizes) {
  sqrt((icc + (1 - icc) / harmonic_mean(sizes)) / length(sizes))
}

# Minimum detectable effect: the multiple t(1 - alpha / 2) + t(power) of the standard error
# (Bloom, 1995, for a two-sided test).
detectable <- function(se, df, alpha = 0.05, power = 0.8) {
  if (df < 1) undefined("there are too few groups for a test at this level")
  (qt(1 - alpha / 2, df) + qt(power, df)) * se
}

# --- variance partition ---------------------------------------------------------------------------

# Spearman-Brown: the reliability of a mean of n measurements that correlate by r (Snijders & Bosker,
# 2012, eq. 3.21).
spearman_brown <- function(r, n) n * r / (1 + (n - 1) * r)

# Reliability of group means of an observed variable from mean squares, 1 - MSW / MSB, that is
# ICC(2) (Bliese, 2000; Luedtke et al., 2008); not below 0. `x` may be centred at the means in any
# way; `means` are the group means, a value a row.
observed_mean_reliability <- function(x, means, g) {
  groups <- nlevels(droplevels(g))
  within <- sum((x - ave(x, g))^2) / (length(x) - groups)
  between <- sum((means - mean(means))^2) / (groups - 1)
  max(0, 1 - within / between)
}

# Reliability of the mean of each unit of the last of nested groupings, as an estimate of its effect
# (Raudenbush & Bryk, 2002, ch. 8, for three levels): tau / (tau + 1 / precision), where the
# precision of a unit's data is the sum over the units in it of 1 / (their tau + 1 / theirs), at the
# lowest level n / sigma2, with prior weights `w` their sum over sigma2. `tau` and `groups` run from
# the lowest grouping up.
nested_reliability <- function(tau, sigma2, groups, w = NULL) {
  own <- groups[[1L]]
  precision <- (if (is.null(w)) group_sizes(own) else as.vector(tapply(w, own, sum))) / sigma2
  for (k in seq_along(groups)[-1L]) {
    first <- match(levels(groups[[k - 1L]]), groups[[k - 1L]])
    precision <- as.vector(
      tapply(1 / (tau[k - 1L] + 1 / precision), groups[[k]][first], sum)
    )
  }
  tau[length(tau)] / (tau[length(tau)] + 1 / precision)
}

# --- agreement within groups ----------------------------------------------------------------------

# Within-group agreement r_wg of one rating for each group of two or more (James, Demaree & Wolf,
# 1984): 1 - S^2 / variance of ratings given at random. That of `categories` equally likely ones is
# (A^2 - 1) / 12. Negative values, where ratings vary more than random ones, count as 0.
within_agreement <- function(y, g, categories, null_variance = (categories^2 - 1) / 12) {
  if (any(y != round(y))) undefined("the index is for ratings in whole steps, which these are not")
  if (max(y) - min(y) > categories - 1) {
    undefined("the ratings span more than a scale of ", categories, " categories")
  }
  pmax(0, raw_agreement(y, g, null_variance))
}

# The same as it is computed, negative values kept; groups of one have no variance and are left out.
raw_agreement <- function(y, g, null_variance) {
  if (all(group_sizes(g) < 2)) undefined("no group has two ratings")
  1 - as.vector(tapply(y, g, var))[group_sizes(g) > 1] / null_variance
}

# --- variance along a predictor -------------------------------------------------------------------

# Variance of each grouping's random part where the predictor with the random slope `effect` is x:
# z' Sigma z with z = (1, x, ...) (Goldstein, Browne & Rasbash, 2002). Other random slopes are taken
# at the mean of their variable, those of categories at the reference.
variance_by_grouping <- function(m, effect, x) {
  blocks <- VarCorr(m)
  v <- vapply(seq_along(blocks), function(k) {
    z <- vapply(rownames(blocks[[k]]), slope_value, 0, m = m, effect = effect, x = x)
    sum(z * (as.matrix(blocks[[k]]) %*% z))
  }, 0)
  tapply(v, block_groups(m), sum)
}

# What a random effect is multiplied by where the predictor of `effect` is x.
slope_value <- function(e, m, effect, x) {
  if (e == "(Intercept)") {
    return(1)
  }
  if (e == effect) {
    return(x)
  }
  holds <- tryCatch(all.vars(str2lang(e)), error = function(...) character())
  if (plain_name(effect) %in% holds) {
    undefined("another random effect of the model holds the same variable")
  }
  values <- model.frame(m)[[plain_name(e)]]
  if (is.numeric(values)) mean(values) else 0
}

# Variance partition coefficient of a grouping along x: V(x) / (sum over groupings of V(x) + sigma2).
vpc_along <- function(m, group, effect, x) {
  vapply(x, function(value) {
    v <- variance_by_grouping(m, effect, value)
    v[[group]] / (sum(v) + residual_variance(m))
  }, 0)
}

# Covariance of the relative covariance parameters theta: twice the inverse Hessian of the deviance
# (ML or REML, as fitted) with mean and residual variance profiled out, by central differences.
theta_covariance <- function(m, step = 1e-3) {
  if (isSingular(m)) {
    undefined("a variance is at its boundary, where the estimates are not about normal")
  }
  theta <- getME(m, "theta")
  deviance_of <- update(m, devFunOnly = TRUE)
  hessian <- central_hessian(deviance_of, theta, step * pmax(abs(theta), 0.1))
  if (min(eigen(hessian, symmetric = TRUE, only.values = TRUE)$values) <= 0) {
    undefined("the likelihood is too flat at the estimates for standard errors of the variances")
  }
  2 * solve(hessian)
}

# The random-effects covariances relative to sigma2 that a theta stands for, a matrix a block.
relative_covariances <- function(m, theta) {
  size <- lengths(getME(m, "cnms"))
  parts <- split(theta, rep(seq_along(size), size * (size + 1) / 2))
  Map(function(part, n) {
    l <- matrix(0, n, n)
    l[lower.tri(l, TRUE)] <- part
    tcrossprod(l)
  }, parts, size)
}

# Pointwise interval of `vpc_along`: the delta method on the logit, as the share depends on theta
# alone, with numerical derivatives; a column a limit. The asymptotic theory is that of Goldstein,
# Browne & Rasbash (2002), who give the share itself; the logit keeps the limits within 0 and 1.
vpc_interval <- function(m, covariance, group, effect, x, level = 0.95) {
  theta <- getME(m, "theta")
  groups <- block_groups(m)
  t(vapply(x, function(value) {
    z <- lapply(getME(m, "cnms"), function(effects) {
      vapply(effects, slope_value, 0, m = m, effect = effect, x = value)
    })
    logit_at <- function(theta) {
      v <- mapply(function(a, l) sum(a * (l %*% a)), z, relative_covariances(m, theta))
      own <- sum(v[groups == group])
      log(own) - log(sum(v[groups != group]) + 1)
    }
    slope <- vapply(seq_along(theta), function(k) {
      h <- 1e-5 * max(abs(theta[k]), 0.1)
      up <- down <- theta
      up[k] <- up[k] + h
      down[k] <- down[k] - h
      (logit_at(up) - logit_at(down)) / (2 * h)
    }, 0)
    se <- sqrt(sum(slope * (covariance %*% slope)))
    plogis(logit_at(theta) + c(lower = -1, upper = 1) * qnorm(1 - (1 - level) / 2) * se)
  }, c(lower = 0, upper = 0)))
}

# The ICCs of a null model's bootstrap samples, a column a grouping.
bootstrap_icc <- function(m, refits) {
  groups <- names(VarCorr(m))
  tau <- refits$values[, paste0("sd_(Intercept)|", groups), drop = FALSE]^2
  found <- tau / (rowSums(tau) + refits$sigma^2 * mean(1 / weights(m)))
  colnames(found) <- groups
  found
}

# The exact restricted likelihood-ratio test of the one variance of a null model with prior weights
# or an offset, from the null distribution of the weighted design (see simulated_ratio_test).
exact_grouping_test <- function(m, simulations, seed) {
  simulated_ratio_test(m, ratio_without_groups(m), simulations, seed)
}

# --- standard errors without a multilevel model ---------------------------------------------------

# The model's fixed part by least squares, columns, prior weights and offset as in the multilevel
# model.
pooled_fit <- function(m) {
  x <- getME(m, "X")
  y <- getME(m, "y") - getME(m, "offset")
  w <- as.vector(weights(m))
  if (all(w == 1)) lm(y ~ 0 + x) else lm(y ~ 0 + x, weights = w)
}

# Cluster-robust covariance of an OLS fit with the factor J / (J - 1) * (n - 1) / (n - p) (Liang &
# Zeger, 1986; CR1S of Bell & McCaffrey, 2002).
cluster_covariance <- function(fit, g) {
  x <- model.matrix(fit)
  bread <- chol2inv(qr.R(fit$qr))
  w <- if (is.null(weights(fit))) 1 else weights(fit)
  scores <- rowsum(x * (w * residuals(fit)), g)
  groups <- nrow(scores)
  factor_ <- groups / (groups - 1) * (nrow(x) - 1) / (nrow(x) - ncol(x))
  factor_ * bread %*% crossprod(scores) %*% bread
}

# Covariance of an OLS fit robust to correlation within each of two crossed groupings: the sum of
# the two cluster-robust ones less that of their cells (Cameron, Gelbach & Miller, 2011).
two_way_covariance <- function(fit, a, b) {
  cells <- interaction(a, b, drop = TRUE)
  cluster_covariance(fit, a) + cluster_covariance(fit, b) - cluster_covariance(fit, cells)
}

# The square root of a variance; a two-way one can be estimated below zero.
root_of_variance <- function(v) {
  if (v < 0) undefined("its two-way robust variance is estimated below zero")
  sqrt(v)
}

# OLS with a dummy for each group, computed within groups (Frisch & Waugh, 1933; Lovell, 1963):
# estimate and SE of the coefficients that vary within groups.
within_group_fit <- function(m, g) {
  x <- getME(m, "X")[, within_terms(m, g), drop = FALSE]
  w <- as.vector(weights(m))
  total <- ave(w, g, FUN = sum)
  deviation <- function(column) sqrt(w) * (column - ave(w * column, g, FUN = sum) / total)
  centred <- apply(x, 2L, deviation)
  fit <- lm.fit(centred, deviation(getME(m, "y") - getME(m, "offset")))
  df <- nrow(x) - nlevels(droplevels(g)) - fit$rank
  kept <- fit$qr$pivot[seq_len(fit$rank)]
  v <- sum(fit$residuals^2) / df * chol2inv(fit$qr$qr, size = fit$rank)
  cbind(estimate = fit$coefficients[kept], se = sqrt(diag(v)))
}

# Names of the fixed effects whose column of X varies within some group, and is not a combination of
# those before it once the groups' means are taken out.
within_terms <- function(m, g) {
  x <- getME(m, "X")
  centred <- apply(x, 2L, function(column) column - ave(column, g))
  scale <- apply(abs(x), 2L, max)
  names_ <- colnames(x)[apply(abs(centred), 2L, max) > 1e-8 * scale]
  found <- qr(centred[, names_, drop = FALSE])
  names_[sort(found$pivot[seq_len(found$rank)])]
}
