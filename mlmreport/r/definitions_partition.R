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

# Parametric bootstrap of a model: outcomes drawn from it and the model fitted to each. A list of
# beta and theta, a row a sample, sigma2, and whether the fit failed. With one grouping all samples
# are fitted at once from the groups' cross-products, else, and with prior weights, one by one by
# lme4::refit; lme4::simulate leaves weights out of account (see drawn_outcomes).
bootstrap_refits <- function(m, samples, seed) {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  if (any(weights(m) != 1)) {
    return(refit_each(m, drawn_outcomes(m, samples)))
  }
  y <- as.matrix(simulate(m, samples))
  if (length(getME(m, "flist")) > 1L) refit_each(m, y) else refit_many(m, y)
}

refit_each <- function(m, y) {
  control <- lmerControl(optimizer = m@optinfo$optimizer, calc.derivs = FALSE)
  fits <- lapply(seq_len(ncol(y)), function(k) {
    tryCatch(suppressMessages(refit(m, y[, k], control = control)), error = function(e) NULL)
  })
  failed <- vapply(fits, is.null, FALSE)
  fits[failed] <- list(m)
  rows <- function(f) matrix(vapply(fits, f, f(m)), ncol(y), byrow = TRUE)
  list(
    beta = rows(fixef), theta = rows(function(f) getME(f, "theta")),
    sigma2 = vapply(fits, sigma, 0)^2, failed = failed
  )
}

# Fits of a model with one grouping to all columns of y: the profiled deviance (Bates et al., 2015)
# of every sample is computed at once from cross-products by group, and minimised by Newton's method.
# What does not converge is fitted by lme4.
refit_many <- function(m, y) {
  size <- max(1L, 50000L %/% ngrps(m)[[1L]])
  chunks <- split(seq_len(ncol(y)), (seq_len(ncol(y)) - 1L) %/% size)
  found <- lapply(chunks, function(k) refit_chunk(m, y[, k, drop = FALSE]))
  bind <- function(what) unname(do.call(rbind, lapply(found, `[[`, what)))
  found <- list(
    beta = bind("beta"), theta = bind("theta"), sigma2 = unlist(lapply(found, `[[`, "sigma2")),
    failed = unlist(lapply(found, `[[`, "failed"), use.names = FALSE)
  )
  again <- which(found$failed)
  if (length(again)) {
    fits <- refit_each(m, y[, again, drop = FALSE])
    for (what in c("beta", "theta")) found[[what]][again, ] <- fits[[what]]
    for (what in c("sigma2", "failed")) found[[what]][again] <- fits[[what]]
  }
  found$sigma2 <- as.vector(found$sigma2)
  found
}

refit_chunk <- function(m, y) {
  s <- group_products(m, y)
  # The deviance is even in the diagonal of the factor, so zero is no place to start from.
  start <- ifelse(getME(m, "lower") == 0, pmax(getME(m, "theta"), 0.1), getME(m, "theta"))
  start <- matrix(start, ncol(y), length(start), byrow = TRUE)
  found <- newton_many(start, function(theta, k) profiled_fit(s, theta, k)$deviance)
  fit <- profiled_fit(s, found$theta, seq_len(ncol(y)))
  list(
    beta = sweep(fit$beta %*% t(s$back), 2L, fixef(m), "+"), theta = found$theta,
    sigma2 = cbind(fit$sigma2), failed = found$failed
  )
}

# Cross-products by group of a model of one grouping and outcomes y less the fixed part, with X made
# orthonormal.
group_products <- function(m, y) {
  decomposed <- qr(getME(m, "X"))
  x <- qr.Q(decomposed)
  z <- do.call(cbind, unname(getME(m, "mmList")))
  g <- as.integer(getME(m, "flist")[[1L]])
  y <- y - as.vector(getME(m, "X") %*% fixef(m)) - getME(m, "offset")
  q <- ncol(z)
  place <- matrix(0L, q, q)
  first <- 0L
  count <- 0L
  for (t in getME(m, "Tlist")) {
    own <- first + seq_len(nrow(t))
    lower <- lower.tri(t, diag = TRUE)
    place[own, own][lower] <- count + seq_len(sum(lower))
    first <- first + nrow(t)
    count <- count + sum(lower)
  }
  sums <- function(v) rowsum(v, g)
  back <- matrix(0, ncol(x), ncol(x))
  back[decomposed$pivot, ] <- backsolve(qr.R(decomposed), diag(ncol(x)))
  list(
    place = place, n = nrow(x), p = ncol(x), q = q, reml = isREML(m), back = back,
    zz = sums(z[, rep(seq_len(q), q), drop = FALSE] * z[, rep(seq_len(q), each = q), drop = FALSE]),
    zx = lapply(seq_len(ncol(x)), function(i) sums(z * x[, i])),
    zy = lapply(seq_len(q), function(a) sums(z[, a] * y)),
    xy = crossprod(x, y), yy = colSums(y^2)
  )
}

# Profiled deviance, fixed effects (of the orthonormal X) and residual variance of the samples `k` at
# their theta, a row each. Matrices hold a row a group and a column a sample.
profiled_fit <- function(s, theta, k) {
  groups <- nrow(s$zz)
  across <- function(v) rep(v, each = groups)
  entry <- function(a, b) if (s$place[a, b]) theta[, s$place[a, b]] else numeric(length(k))
  effects <- seq_len(s$q)
  lambda <- lapply(effects, function(b) vapply(effects, entry, numeric(length(k)), b = b))
  lambda <- lapply(lambda, matrix, nrow = length(k)) # a column of Lambda: samples by rows of Lambda
  pair <- function(a, b) {
    left <- lambda[[a]][, rep(effects, s$q), drop = FALSE]
    s$zz %*% t(left * lambda[[b]][, rep(effects, each = s$q), drop = FALSE]) + (a == b)
  }
  l <- cholesky_many(lapply(effects, function(a) lapply(seq_len(a), pair, a = a)))
  columns <- lapply(s$zx, function(zx) lapply(effects, function(a) zx %*% t(lambda[[a]])))
  columns[[s$p + 1L]] <- lapply(effects, function(a) {
    Reduce(`+`, lapply(effects, function(c) s$zy[[c]][, k, drop = FALSE] * across(lambda[[a]][, c])))
  })
  columns <- lapply(columns, forward_many, l = l)
  gram <- function(i, j) {
    inner <- Reduce(`+`, lapply(effects, function(a) colSums(columns[[i]][[a]] * columns[[j]][[a]])))
    outer_ <- if (i <= s$p) i == j else if (j <= s$p) s$xy[j, k] else s$yy[k]
    outer_ - inner
  }
  r <- cholesky_many(lapply(seq_len(s$p + 1L), function(i) lapply(seq_len(i), gram, i = i)))
  last <- r[[s$p + 1L]]
  rss <- last[[s$p + 1L]]^2
  fixed <- seq_len(s$p)
  df <- s$n - if (s$reml) s$p else 0
  log_ <- 2 * Reduce(`+`, lapply(effects, function(a) colSums(log(l[[a]][[a]]))))
  if (s$reml) log_ <- log_ + 2 * Reduce(`+`, lapply(fixed, function(i) log(r[[i]][[i]])))
  beta <- last[fixed]
  for (i in rev(fixed)) {
    for (h in seq_len(s$p - i) + i) beta[[i]] <- beta[[i]] - r[[h]][[i]] * beta[[h]]
    beta[[i]] <- beta[[i]] / r[[i]][[i]]
  }
  list(
    deviance = log_ + df * (1 + log(2 * pi * rss / df)), sigma2 = rss / df,
    beta = matrix(unlist(beta), length(k))
  )
}

# Cholesky factors of many matrices, entry [[i]][[j]] of all of them an array, and the solutions of
# L x = b.
cholesky_many <- function(a) {
  for (i in seq_along(a)) {
    for (j in seq_len(i)) {
      v <- a[[i]][[j]]
      for (h in seq_len(j - 1L)) v <- v - a[[i]][[h]] * a[[j]][[h]]
      a[[i]][[j]] <- if (i == j) sqrt(pmax(v, .Machine$double.xmin)) else v / a[[j]][[j]]
    }
  }
  a
}
forward_many <- function(l, b) {
  for (i in seq_along(b)) {
    for (h in seq_len(i - 1L)) b[[i]] <- b[[i]] - l[[i]][[h]] * b[[h]]
    b[[i]] <- b[[i]] / l[[i]][[i]]
  }
  b
}

# Minima of many functions of few variables, a row of theta each, by Newton's method with central
# differences; directions of negative curvature are turned. `f` takes rows of theta and which
# functions they belong to. A minimum is found where a Newton step promises less than `tolerance`.
newton_many <- function(theta, f, rounds = 50L, tolerance = 1e-7) {
  value <- f(theta, seq_len(nrow(theta)))
  open <- rep(TRUE, nrow(theta))
  failed <- open
  for (round in seq_len(rounds)) {
    k <- which(open)
    if (!length(k)) break
    d <- differences_many(theta[k, , drop = FALSE], value[k], function(t) f(t, k))
    steps <- t(vapply(seq_along(k), function(i) newton_step(d$gradient[i, ], d$hessian[i, , ]),
      numeric(ncol(theta))))
    steps <- matrix(steps, length(k))
    promised <- -rowSums(steps * d$gradient)
    scale <- rep(1, length(k))
    todo <- seq_along(k)
    for (halving in seq_len(12L)) {
      tried <- theta[k[todo], , drop = FALSE] + scale[todo] * steps[todo, , drop = FALSE]
      found <- f(tried, k[todo])
      better <- is.finite(found) & found <= value[k[todo]]
      theta[k[todo[better]], ] <- tried[better, ]
      value[k[todo[better]]] <- found[better]
      todo <- todo[!better]
      if (!length(todo)) break
      scale[todo] <- scale[todo] / 3
    }
    done <- promised < tolerance
    failed[k[done]] <- FALSE
    open[k[done]] <- FALSE
    open[k[todo]] <- FALSE
  }
  list(theta = theta, failed = failed)
}

newton_step <- function(gradient, hessian) {
  e <- eigen(matrix(hessian, length(gradient)), symmetric = TRUE)
  curvature <- pmax(abs(e$values), 1e-6 * max(abs(e$values)), 1e-12)
  -as.vector(e$vectors %*% (crossprod(e$vectors, gradient) / curvature))
}

differences_many <- function(theta, value, f, h = 1e-4) {
  p <- ncol(theta)
  moved <- function(i, a, j = i, b = 0) {
    theta[, i] <- theta[, i] + a * h
    theta[, j] <- theta[, j] + b * h
    f(theta)
  }
  up <- vapply(seq_len(p), moved, value, a = 1)
  down <- vapply(seq_len(p), moved, value, a = -1)
  up <- matrix(up, ncol = p)
  down <- matrix(down, ncol = p)
  hessian <- array(0, c(length(value), p, p))
  for (i in seq_len(p)) {
    hessian[, i, i] <- (up[, i] - 2 * value + down[, i]) / h^2
    for (j in seq_len(i - 1L)) {
      both <- moved(i, 1, j, 1) - up[, i] - up[, j] + 2 * value - down[, i] - down[, j]
      hessian[, i, j] <- (both + moved(i, -1, j, -1)) / (2 * h^2)
      hessian[, j, i] <- hessian[, i, j]
    }
  }
  list(gradient = (up - down) / (2 * h), hessian = hessian)
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
  apply(refits$theta, 1L, function(theta) {
    any(vapply(factors_from(m, theta), function(t) min(svd(t, 0L, 0L)$d), 0) < bound)
  })
}

# Marginal and conditional R2 and the shares of the parts of the variance of every refit that did not
# fail, a row each.
bootstrap_shares <- function(m, refits, groups, crossed = FALSE) {
  moments <- variance_moments(m, groups, crossed)
  t(vapply(which(!refits$failed), function(k) {
    covariances <- covariances_from(m, refits$theta[k, ], refits$sigma2[k])
    parts <- parts_from(moments, refits$beta[k, ], covariances, refits$sigma2[k])
    parts <- parts / sum(parts)
    fixed <- substr(names(parts), 1L, 1L) %in% c("f", "s")
    c(r2m = sum(parts[fixed]), r2c = 1 - parts[["residual"]], parts)
  }, c(r2m = 0, r2c = 0, variance_parts(m, groups, crossed))))
}
