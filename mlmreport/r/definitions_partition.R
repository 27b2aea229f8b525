# The variance that a model implies, divided by level, and intervals of its shares. As
# definitions.R it goes word for word into every reproduce.R.

# --- parts of a column by level -------------------------------------------------------------------

# Group means of the columns of a matrix, on the rows.
between_part <- function(x, g) {
  sums <- rowsum(x, as.integer(g), reorder = TRUE)
  means <- sums / as.vector(table(as.integer(g)))
  means[match(as.integer(g), as.integer(rownames(means))), , drop = FALSE]
}

# The columns of x as sums of parts by level. Nested groupings, the lowest first: deviations from the
# means of the lowest groups, of these means from those of the next, and so on to the means of the
# highest (Rights & Sterba, 2023, for data of three or more levels); such parts are uncorrelated over
# the rows. Crossed groupings: what an additive model of them leaves, then the part of each.
level_parts <- function(x, groups, crossed = FALSE) {
  if (crossed) {
    return(crossed_parts(x, groups))
  }
  means <- lapply(groups, function(g) between_part(x, g))
  c(Map(`-`, c(list(x), means[-length(means)]), means), means[length(means)])
}

# The additive least-squares fit of the columns of x by crossed factors, each factor's part with mean
# zero over the rows. The rest is uncorrelated with the parts; they are so with each other where the
# cells hold rows in proportion.
crossed_parts <- function(x, groups) {
  x <- sweep(x, 2L, colMeans(x))
  indicators <- lapply(seq_along(groups), function(k) {
    z <- Matrix::t(Matrix::fac2sparse(groups[[k]]))
    if (k > 1L) z[, -1L, drop = FALSE] else z
  })
  z <- do.call(cbind, indicators)
  solved <- tryCatch(Matrix::Cholesky(Matrix::crossprod(z), LDL = FALSE), error = function(e) NULL)
  pivots <- if (is.null(solved)) 0 else Matrix::diag(methods::as(solved, "Matrix"))
  if (min(pivots) < 1e-7 * max(pivots)) {
    undefined("the groupings are not connected by common rows, so their parts cannot be told apart")
  }
  b <- as.matrix(Matrix::solve(solved, Matrix::crossprod(z, x)))
  last <- cumsum(vapply(indicators, ncol, 0L))
  parts <- lapply(seq_along(groups), function(k) {
    own <- seq(last[k] - ncol(indicators[[k]]) + 1L, last[k])
    part <- as.matrix(indicators[[k]] %*% b[own, , drop = FALSE])
    sweep(part, 2L, colMeans(part))
  })
  c(list(x - Reduce(`+`, parts)), parts)
}

# Columns of the fixed part that vary at more than one level: one coefficient stands for all of them.
conflated <- function(m, groups, crossed = FALSE) {
  x <- getME(m, "X")
  scale <- apply(abs(x), 2L, max)
  parts <- level_parts(x, getME(m, "flist")[groups], crossed)
  bounds <- c(1e-8, rep(1e-6, length(parts) - 1L))
  varies <- mapply(function(part, bound) {
    apply(part, 2L, function(v) diff(range(v))) > bound * scale
  }, parts, bounds)
  colnames(x)[rowSums(matrix(varies, ncol(x))) > 1L]
}

# --- parts of the variance ------------------------------------------------------------------------

# What the parts of the variance are made of, for any estimates of the same design. Levels are
# numbered, 1 the rows, 2 the first grouping. `fixed`: for each level l the covariance matrix of the
# columns of X at that level, f_l = b' S b; for crossed groupings twice the covariance of their parts
# as `shared`. `random`: for each term, of a grouping at level k, the mean products Q of the columns
# z, a part tr(T Q). m_k is made of their group means, and v_lk of what they vary by at level l below
# k; crossed groupings: within the groups of k.
variance_moments <- function(m, groups, crossed = FALSE) {
  x <- getME(m, "X")
  others <- setdiff(block_groups(m), groups)
  if (length(others)) {
    undefined("the random part has a grouping that is no level of the data: ", others[1L])
  }
  flist <- getME(m, "flist")[groups]
  fixed <- lapply(level_parts(x, flist, crossed), var)
  names(fixed) <- paste0("f", seq_along(fixed))
  if (crossed) fixed$shared <- var(x) - Reduce(`+`, fixed)
  random <- Map(function(z, group) {
    k <- match(group, groups)
    below <- level_parts(z, flist[if (crossed) k else seq_len(k)])
    mean_ <- below[[length(below)]]
    below <- below[-length(below)]
    names(below) <- paste0("v", seq_along(below), k + 1L)
    lapply(c(below, setNames(list(mean_), paste0("m", k + 1L))), function(p) crossprod(p) / nrow(z))
  }, getME(m, "mmList"), block_groups(m))
  list(fixed = fixed, random = unname(random))
}

# The parts of the variance from the moments of a design and estimates: fixed effects, a covariance
# matrix for each random term, the residual variance.
parts_from <- function(moments, beta, covariances, sigma2) {
  fixed <- vapply(moments$fixed, function(s) sum(beta * (s %*% beta)), 0)
  random <- unlist(Map(function(q, covariance) {
    vapply(q, function(p) sum(p * covariance), 0)
  }, moments$random, covariances))
  c(fixed, tapply(random, names(random), sum)[unique(names(random))], residual = sigma2)
}

# The variance that a model implies, divided (Rights & Sterba, 2019; three or more levels: 2023):
# f_l, the fixed part at level l, v_lk, slopes that vary over the groups of level k, m_k, their means
# that vary, and the residual variance. The fixed parts (with `shared`) are the fixed variance, v and
# m the random variance of the marginal and conditional R2. For predictors centred within groups
# these are the published definitions; for others every column is split into its levels.
variance_parts <- function(m, groups, crossed = FALSE) {
  covariances <- lapply(VarCorr(m), function(v) matrix(v, nrow(v)))
  parts_from(variance_moments(m, groups, crossed), fixef(m), covariances, residual_variance(m))
}

# Shares of some parts in the sum of others.
share_of <- function(parts, what, whole) sum(parts[what]) / sum(parts[whole])

# The parts whose variance lies at a level: the slopes v_lk at level l, the residual at level 1.
parts_at <- function(parts, level) {
  found <- names(parts)[substr(names(parts), 1L, 2L) %in% paste0(c("f", "v", "m"), level)]
  if (level == 1) c(found, "residual") else found
}

# --- parametric bootstrap -------------------------------------------------------------------------

# Parametric bootstrap of a model by lme4's refits, one after another, for data that do not compress:
# what parametric_bootstrap() gives, a row a sample. A sample whose refit fails has missing values.
bootstrap_refits <- function(m, samples, seed) {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  y <- drawn_outcomes(m, samples)
  found <- over_blocks(in_blocks(seq_len(samples), 10L), lme4_refits, m = m, y = y)
  stacked <- function(name) do.call(rbind, lapply(found, `[[`, name))
  list(
    theta = stacked("theta"), beta = stacked("beta"), sigma = as.vector(stacked("sigma")),
    converged = as.vector(stacked("converged")), values = stacked("values")
  )
}

# Refits to some columns of y, a row each.
lme4_refits <- function(which, m, y) {
  control <- lmerControl(optimizer = m@optinfo$optimizer, calc.derivs = FALSE)
  fits <- lapply(which, function(k) {
    tryCatch(
      suppressWarnings(suppressMessages(refit(m, y[, k], control = control))),
      error = function(e) NULL
    )
  })
  rows <- function(f) {
    found <- vapply(fits, function(fit) if (is.null(fit)) NA * f(m) else f(fit), f(m))
    found <- matrix(found, length(which), byrow = TRUE)
    colnames(found) <- names(f(m))
    found
  }
  list(
    theta = rows(function(f) unname(getME(f, "theta"))), beta = rows(fixef), sigma = rows(sigma),
    converged = matrix(!vapply(fits, is.null, FALSE)), values = rows(all_parameters)
  )
}

# The covariance factor of each random term from theta, and the covariance matrices.
factors_from <- function(m, theta) {
  at <- 0L
  lapply(getME(m, "Tlist"), function(t) {
    lower <- lower.tri(t, diag = TRUE)
    t[lower] <- theta[at + seq_len(sum(lower))]
    at <<- at + sum(lower)
    t
  })
}
covariances_from <- function(m, theta, sigma2) {
  lapply(factors_from(m, theta), function(t) sigma2 * tcrossprod(t))
}

# Refits with a variance at zero or a correlation at -1 or 1: a singular value of a factor below the
# bound.
at_boundary <- function(m, refits, bound = 1e-3) {
  apply(refits$theta[refits$converged, , drop = FALSE], 1L, function(theta) {
    any(vapply(factors_from(m, theta), function(t) min(svd(t, 0L, 0L)$d), 0) < bound)
  })
}

# Marginal and conditional R2 and the shares of the parts of the variance of every refit that did not
# fail, a row each.
bootstrap_shares <- function(m, refits, groups, crossed = FALSE) {
  moments <- variance_moments(m, groups, crossed)
  t(vapply(which(refits$converged), function(k) {
    covariances <- covariances_from(m, refits$theta[k, ], refits$sigma[k]^2)
    parts <- parts_from(moments, refits$beta[k, ], covariances, refits$sigma[k]^2)
    parts <- parts / sum(parts)
    fixed <- substr(names(parts), 1L, 1L) %in% c("f", "s")
    c(r2m = sum(parts[fixed]), r2c = 1 - parts[["residual"]], parts)
  }, c(r2m = 0, r2c = 0, variance_parts(m, groups, crossed))))
}
