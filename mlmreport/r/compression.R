# Linear mixed models on compressed data.
#
# The criterion of a Gaussian mixed model depends on rows that share their columns of Z only through
# the triangular factor of a QR decomposition of their rows of [Z X y] (Bates, Maechler, Bolker &
# Walker, 2015, for the criterion; Golub & Van Loan, 2013, for the decomposition). A group of n_j
# rows is so replaced by at most p + q rows and one residual sum of squares, with nothing lost: the
# likelihood, its optimum and the estimates are those of all rows.
#
# What the other files call:
#   compress(m)               a fitted model      -> problem (see `compressed_rows`)
#   batch_of(problem)         problem             -> batch: one or more problems of the same design
#   evaluate_batch(batch, theta)                  -> criterion, gradient, beta, pwrss, sigma, rx
#   minimise_inside(batch, start)                 -> the optima; theta and start: a row a problem
#   optimum(problem)          problem             -> theta, criterion, beta, sigma, vcov, ...
#   derivatives(batch, theta) gradient and Hessian of a single problem's criterion
#   lmer_compressed(formula, ...)                 -> a genuine lmerMod, and why it is none of ours
#   lmer_at(formula, ..., theta)                  -> the same at a theta found before
#   optimum_by(problem, optimizer)                -> theta and criterion by an optimizer of lme4
#   deviance_function(m)                          -> what update(m, devFunOnly = TRUE) gives
#   with_df(m)                                    -> what lmerTest::as_lmerModLmerTest(m) gives
#
# lme4, Matrix, base and stats only, and lmerTest for `with_df`.

# --- from rows to a compressed problem ------------------------------------------------------------

# The compressed problem of a fitted linear mixed model.
compress <- function(m, reml = isREML(m)) {
  re <- list(
    Zt = getME(m, "Zt"), cnms = m@cnms, flist = m@flist, theta = getME(m, "theta"), lower = m@lower
  )
  compressed_rows(getME(m, "X"), re, m@resp$y, m@resp$weights, m@resp$offset, reml)
}

# The compressed problem of a design. `re` is what lme4 calls reTrms. The parts of a problem:
#   x, y, z[[term]]      rows scaled by the square root of their weight, the offset subtracted
#   level[[term]]        of each row, the code of its group, and labels[[term]] the groups' names
#   rss, rest            what the rows leave out: residual sum of squares and degrees of freedom,
#                        one a cell, as are `size` (rows), `log_weight`; `cell` is each row's cell
#   cells                the group codes of each cell, a column a term
#   n, reml, theta, lower, cnms, group (name of each term's factor), rows (kept and of),
#   inverse_weight (mean of 1 / weight)
#   reason               why nothing is gained, or NULL
compressed_rows <- function(x, re, y, weights, offset, reml) {
  z <- term_columns(re)
  q <- lengths(z)
  columns <- c(unlist(z, recursive = FALSE), vectors_of(x))
  known <- first_equal(columns)
  columns <- c(columns[unique(known)], list(if (all(offset == 0)) y else y - offset))
  equal <- all(weights == 1)
  if (!equal) columns <- lapply(columns, `*`, sqrt(weights))
  assign <- attr(re$flist, "assign")
  codes <- lapply(re$flist, as.integer)[assign]
  cell <- cell_codes(codes[!duplicated(assign)])
  first <- match(seq_len(max(cell)), cell)
  size <- tabulate(cell, max(cell))
  kept <- cell_factors(columns, cell)
  kept$r <- kept$r[, c(match(known, unique(known)), ncol(kept$r)), drop = FALSE]
  at <- split(seq_len(sum(q)), rep(seq_along(q), q))
  problem <- list(
    x = kept$r[, sum(q) + seq_len(ncol(x)), drop = FALSE], y = kept$r[, ncol(kept$r)],
    z = lapply(at, function(k) kept$r[, k, drop = FALSE]), cell = kept$cell,
    cells = vapply(codes, function(code) code[first], integer(length(first))),
    rss = kept$rss, rest = size - tabulate(kept$cell, max(cell)), size = size,
    log_weight = if (equal) 0 * size else as.vector(rowsum(log(weights), cell)),
    labels = lapply(re$flist, levels)[assign], group = names(re$flist)[assign],
    cnms = re$cnms, theta = re$theta, lower = re$lower, reml = reml, n = length(y),
    beta_names = colnames(x), inverse_weight = if (equal) 1 else mean(1 / weights)
  )
  problem$cells <- matrix(problem$cells, ncol = length(codes))
  problem$level <- lapply(seq_along(codes), function(t) problem$cells[kept$cell, t])
  problem$rows <- c(kept = length(kept$cell), of = length(y))
  problem$reason <- if (2 * problem$rows[["kept"]] > problem$rows[["of"]]) {
    paste0(
      "the ", nrow(problem$cells), " groups or combinations of groups have too few of the ",
      length(y), " rows each: ", length(kept$cell), " rows would stay"
    )
  }
  problem
}

# The columns of a matrix as vectors, without the names of its rows, which would cost more than all the rest.
vectors_of <- function(x) {
  lapply(seq_len(ncol(x)), function(k) x[seq.int((k - 1) * nrow(x) + 1, length.out = nrow(x))])
}

# For each column the first that equals it: a random slope stands in X as in Z, a constant in both and
# in the Z of every term, but is decomposed once.
first_equal <- function(columns) {
  vapply(seq_along(columns), function(k) {
    Position(function(j) identical(columns[[j]], columns[[k]]), seq_len(k))
  }, 1L)
}

# The columns of each random-effects term, read off lme4's sparse Z'.
term_columns <- function(re) {
  q <- lengths(re$cnms)
  per_row <- sum(q)
  if (all(diff(re$Zt@p) == per_row)) {
    z <- matrix(re$Zt@x, nrow = per_row)
    of_term <- split(seq_len(per_row), rep(seq_along(q), q))
    return(lapply(of_term, function(rows) lapply(rows, function(k) z[k, ])))
  }
  levels <- lengths(lapply(re$flist, levels))[attr(re$flist, "assign")]
  start <- cumsum(c(0, q * levels))
  lapply(seq_along(q), function(t) {
    lapply(seq_len(q[t]), function(k) {
      Matrix::colSums(re$Zt[start[t] + seq(k, by = q[t], length.out = levels[t]), , drop = FALSE])
    })
  })
}

# A number for each combination of groups.
joint_codes <- function(codes) Reduce(function(a, b) a * (max(b) + 1) + b, lapply(codes, as.numeric))

# Codes 1, 2, ... of the combinations of groups that occur.
cell_codes <- function(codes) {
  code <- joint_codes(codes)
  if (length(codes) == 1L && all(tabulate(codes[[1L]]) > 0)) {
    return(codes[[1L]])
  }
  match(code, sort(unique(code)))
}

# The triangular factor of each cell's rows: of large cells one by one by R's own least squares, whose
# decomposition moves a column that lies in the span of the earlier ones behind the others, and of small
# cells all at once. `columns` has the response at its end.
cell_factors <- function(columns, cell) {
  size <- tabulate(cell, max(cell))
  if (length(cell) < 100 * length(size)) {
    return(small_factors(do.call(cbind, columns), cell))
  }
  order <- order(cell)
  end <- cumsum(size)
  last <- length(columns)
  found <- lapply(seq_along(size), function(k) {
    rows <- order[seq.int(end[k] - size[k] + 1L, end[k])]
    of_rows <- function(column) column[rows]
    x <- vapply(columns[-last], of_rows, numeric(size[k]))
    dim(x) <- c(size[k], last - 1L) # one row would be a vector
    fit <- stats::.lm.fit(x, of_rows(columns[[last]]), tol = 1e-10)
    kept <- seq_len(fit$rank)
    r <- fit$qr[kept, , drop = FALSE]
    r[lower.tri(r)] <- 0
    list(
      r = cbind(r[, order(fit$pivot), drop = FALSE], fit$effects[kept]),
      rss = sum(fit$effects[seq_along(rows) > fit$rank]^2)
    )
  })
  r <- lapply(found, `[[`, "r")
  list(
    r = do.call(rbind, r), cell = rep(seq_along(r), vapply(r, nrow, 1L)),
    rss = vapply(found, `[[`, 0, "rss")
  )
}

# All cells at once, by modified Gram-Schmidt, whose triangular factor is as accurate as Householder's
# (Bjoerck, 1967; Golub & Van Loan, 2013, ch. 5). A column that lies in the span of the earlier ones
# within a cell gives no row there.
small_factors <- function(a, cell, tolerance = 1e-10) {
  cells <- max(cell)
  columns <- ncol(a)
  gather <- Matrix::sparseMatrix(i = cell, j = seq_along(cell), x = 1, dims = c(cells, length(cell)))
  sums <- function(v) as.matrix(gather %*% v)
  least <- tolerance^2 * sums(a^2)
  rows <- vector("list", columns - 1L)
  for (k in seq_len(columns - 1L)) {
    own <- a[, 1L]
    rest <- a[, -1L, drop = FALSE]
    share <- sums(own * a)
    norm <- share[, 1L]
    found <- norm > least[, k] & norm > 0
    share <- share[, -1L, drop = FALSE] / norm
    share[!found, ] <- 0
    a <- rest - own * share[cell, , drop = FALSE]
    r <- cbind(matrix(0, cells, k - 1L), sqrt(norm), share * sqrt(norm))
    rows[[k]] <- cbind(which(found), r[found, , drop = FALSE])
  }
  rows <- do.call(rbind, rows)
  rows <- rows[order(rows[, 1L]), , drop = FALSE]
  list(r = rows[, -1L, drop = FALSE], cell = rows[, 1L], rss = as.vector(sums(a^2)))
}

# --- the criterion --------------------------------------------------------------------------------

# Problems of the same design, to be evaluated together. One grouping factor is solved group by group
# in closed form, all problems at once; everything else by lme4 itself, one problem after the other.
batch_of <- function(problem, part = conditioned(problem)) {
  if (length(unique(problem$group)) == 1L) group_batch(problem, part) else lme4_batch(problem, part)
}

# For each problem of the batch, at its row of theta: criterion (deviance, or REML criterion), beta,
# pwrss (penalised weighted residual sum of squares), sigma, rx (the factor of X'V^-1 X, V the
# covariance over sigma^2), gradient if asked for. `which` are the problems of the rows. Sigma is the
# one of the least criterion, unless the batch holds one for each problem.
evaluate_batch <- function(batch, theta, which = seq_len(nrow(theta)), gradient = FALSE) {
  solve_all <- if (batch$closed) group_states else lme4_states
  part <- solve_all(batch, theta, which, gradient)
  df <- batch$df[which]
  sigma2 <- if (is.null(batch$sigma)) part$pwrss / df else batch$sigma[which]^2
  criterion <- part$log_det + df * log(2 * pi * sigma2) + part$pwrss / sigma2 + batch$constant[which] +
    if (batch$reml) part$log_det_x else 0
  criterion[is.na(criterion)] <- Inf
  c(part, list(criterion = criterion, sigma = sqrt(sigma2)))
}

# X made orthonormal and y replaced by its residual, for accuracy: x = orthonormal %*% r.
conditioned <- function(problem) {
  if (!ncol(problem$x)) {
    return(list(x = problem$x, y = problem$y, r = matrix(0, 0L, 0L), shift = numeric(), log_det = 0))
  }
  q <- qr(problem$x, LAPACK = FALSE, tol = 1e-10)
  if (q$rank < ncol(problem$x)) {
    stop("the fixed-effects columns are linearly dependent", call. = FALSE)
  }
  r <- qr.R(q)
  list(
    x = qr.Q(q), y = qr.resid(q, problem$y), r = r, shift = qr.coef(q, problem$y),
    log_det = 2 * sum(log(abs(diag(r))))
  )
}

# What batches of both kinds hold: of each problem df and the terms that theta does not change.
batch_frame <- function(problem, part, n = problem$n, log_weight = sum(problem$log_weight)) {
  list(
    df = n - if (problem$reml) ncol(problem$x) else 0, reml = problem$reml,
    constant = rep_len(-log_weight + if (problem$reml) part$log_det else 0, length(n)),
    r = part$r, shift = part$shift, lower = problem$lower, n = n, at = factor_positions(problem$cnms)
  )
}

# Where theta stands in the covariance factor of one group, all terms together.
factor_positions <- function(cnms) {
  q <- lengths(cnms)
  start <- cumsum(c(0L, q))
  do.call(rbind, lapply(seq_along(q), function(t) {
    which(lower.tri(diag(q[t]), diag = TRUE), arr.ind = TRUE) + start[t]
  }))
}

# One grouping factor. z[[a]] is z_a' [Z X y], a row a group; `total` is [X y]'[X y].
group_batch <- function(problem, part) {
  z <- do.call(cbind, problem$z)
  all <- cbind(z, part$x, part$y)
  w <- all[, -seq_len(ncol(z)), drop = FALSE]
  total <- base::crossprod(w)
  total[length(total)] <- total[length(total)] + sum(problem$rss)
  sums <- lapply(seq_len(ncol(z)), function(a) {
    found <- rowsum(z[, a] * all, problem$level[[1L]])
    array(found, c(nrow(found), 1L, ncol(found)))
  })
  c(batch_frame(problem, part), list(
    closed = TRUE, z = sums, total = array(total, c(1L, dim(total))), q = ncol(z), p = ncol(part$x)
  ))
}

# With A_j = Lambda' Z_j'Z_j Lambda + I = L_j L_j' and U_j = L_j^-1 Lambda' Z_j' [Z_j X_j y_j],
# [X y]'V^-1 [X y] = [X y]'[X y] - sum of U_j'U_j without the columns of Z; its triangular factor holds
# RX, from which beta follows, and the root of pwrss.
group_states <- function(batch, theta, which, gradient) {
  groups <- dim(batch$z[[1L]])[1L]
  z <- batch_rows(batch, which)
  lambda <- stacked_lambda(batch, theta, groups)
  found <- eliminated(z, lambda)
  total <- batch$total[which, , , drop = FALSE]
  for (row in found$u) {
    total <- total - cross_products(row[, -seq_len(batch$q), drop = FALSE], groups)
  }
  rx <- stacked_factor(total)
  p <- batch$p
  beta <- back_substituted(rx, p)
  state <- list(
    log_det = .colSums(found$log_det, groups, length(which)), pwrss = rx[, p + 1L, p + 1L]^2,
    log_det_x = 2 * rowSums(log(stacked_diagonal(rx)[, seq_len(p), drop = FALSE])),
    rx = rx, inner_beta = beta, beta = coefficients_of(batch, beta, which)
  )
  if (gradient) {
    inner <- group_slopes(batch, state, z, found$u, groups, which)
    state$gradient <- theta_gradient(batch, inner, lambda, groups)
  }
  state
}

# The elements of Lambda, each repeated over the groups of its problem; NULL where it has a 0.
stacked_lambda <- function(batch, theta, groups) {
  lambda <- array(list(NULL), c(batch$q, batch$q))
  for (k in seq_len(nrow(batch$at))) {
    lambda[[batch$at[k, 1L], batch$at[k, 2L]]] <- rep(theta[, k], each = groups)
  }
  lambda
}

# The sum of lambda[d, a] x(d) over d, a column of Lambda times what `x` gives for its rows.
times_lambda <- function(lambda, a, x) {
  total <- 0
  for (d in seq(a, nrow(lambda))) {
    if (!is.null(lambda[[d, a]])) total <- total + lambda[[d, a]] * x(d)
  }
  total
}

# The factors of all A_j at once, by eliminating the rows of [A_j | Lambda' Z_j' [Z_j X_j y_j]], which
# leaves [L_j' | U_j]: the rows of U_j, and the log determinants of A_j.
eliminated <- function(z, lambda) {
  q <- length(z)
  u <- vector("list", q)
  l <- array(list(), c(q, q))
  log_det <- 0
  for (a in seq_len(q)) {
    row <- times_lambda(lambda, a, function(d) z[[d]])
    to <- seq(a, q)
    for (k in to) l[[a, k]] <- times_lambda(lambda, k, function(d) row[, d]) + (k == a)
    for (b in seq_len(a - 1L)) {
      row <- row - l[[b, a]] * u[[b]]
      for (k in to) l[[a, k]] <- l[[a, k]] - l[[b, a]] * l[[b, k]]
    }
    log_det <- log_det + log(l[[a, a]])
    pivot <- sqrt(l[[a, a]])
    u[[a]] <- row / pivot
    for (k in to) l[[a, k]] <- l[[a, k]] / pivot
  }
  list(u = u, log_det = log_det)
}

# The solutions of R beta = r, R and r the first p rows of each problem's factor.
back_substituted <- function(rx, p) {
  beta <- matrix(0, dim(rx)[1L], p)
  for (i in rev(seq_len(p))) {
    rest <- rx[, i, p + 1L]
    for (k in i + seq_len(p - i)) rest <- rest - rx[, i, k] * beta[, k]
    beta[, i] <- rest / rx[, i, i]
  }
  beta
}

# The rows of the chosen problems, one below the other; kept as long as the choice is the same.
batch_rows <- function(batch, which) {
  columns <- dim(batch$z[[1L]])[3L]
  lapply(batch$z, function(z) {
    if (!identical(as.integer(which), seq_len(dim(z)[2L]))) z <- z[, which, , drop = FALSE]
    matrix(z, ncol = columns)
  })
}

# Cross-products of the rows of each problem, [problem, column, column].
cross_products <- function(rows, groups) {
  problems <- nrow(rows) / groups
  if (problems == 1) {
    found <- base::crossprod(rows)
    return(array(found, c(1L, dim(found))))
  }
  found <- array(0, c(problems, ncol(rows), ncol(rows)))
  for (k in seq_len(problems)) {
    found[k, , ] <- base::crossprod(rows[seq.int((k - 1L) * groups + 1L, k * groups), , drop = FALSE])
  }
  found
}

# Upper triangular factors of symmetric matrices, [problem, row, column]; NaN where there is none.
stacked_factor <- function(a) {
  size <- dim(a)[2L]
  for (i in seq_len(size)) {
    pivot <- a[, i, i]
    pivot[!(pivot > 0)] <- NaN
    row <- matrix(a[, i, ], ncol = size) / sqrt(pivot)
    a[, i, ] <- row
    for (k in i + seq_len(size - i)) a[, k, ] <- a[, k, ] - row[, k] * row
  }
  a
}
stacked_diagonal <- function(a) {
  size <- dim(a)[2L]
  matrix(vapply(seq_len(size), function(i) a[, i, i], numeric(dim(a)[1L])), ncol = size)
}

# Coefficients of X from those of the orthonormal X.
coefficients_of <- function(batch, inner, which) {
  if (!ncol(inner)) {
    return(inner)
  }
  beta <- t(backsolve(batch$r, t(inner)))
  shift <- batch$shift
  beta + if (is.matrix(shift)) shift[which, , drop = FALSE] else rep(shift, each = nrow(beta))
}

# (X'V^-1 X)^-1 of a problem, from the state of a batch: times sigma^2 the covariance of beta.
unscaled_covariance <- function(batch, state, k = 1L) {
  p <- ncol(state$beta)
  rx <- matrix(state$rx[k, seq_len(p), seq_len(p)], p)
  tcrossprod(backsolve(batch$r, backsolve(rx, diag(p))))
}

# d criterion / d Lambda = 2 M Lambda, M = sum Z'V^-1 Z - df / pwrss sum e e' - [REML] sum S C S' with
# e = Z'V^-1 (y - X beta), S = Z'V^-1 X and C = (X'V^-1 X)^-1, summed over the groups: the derivative
# of log |V|, of the penalised sum of squares (at its minimum over beta and u) and of log |X'V^-1 X|.
# Here M of each problem, [problem, row, column].
group_slopes <- function(batch, state, z, u, groups, which) {
  q <- batch$q
  problems <- length(which)
  restricted <- batch$reml && batch$p > 0
  inner <- array(0, c(problems, q, q))
  weight <- if (is.null(batch$sigma)) batch$df[which] / state$pwrss else batch$sigma[which]^-2
  parts <- lapply(seq_len(q), function(a) {
    v <- z[[a]]
    for (b in seq_len(q)) v <- v - u[[b]][, a] * u[[b]]
    v
  })
  for (a in seq_len(q)) {
    inner[, a, ] <- .colSums(parts[[a]][, seq_len(q)], groups, problems * q)
  }
  # A problem after the other: cross-products are BLAS's, which no sum over the rows of all problems
  # at once is as fast as.
  own <- do.call(cbind, lapply(parts, function(v) v[, -seq_len(q), drop = FALSE]))
  p <- seq_len(batch$p)
  for (k in seq_len(problems)) {
    products <- base::crossprod(own[seq.int((k - 1L) * groups + 1L, k * groups), , drop = FALSE])
    root <- if (restricted) matrix(state$rx[k, p, p], batch$p)
    inner[k, , ] <- inner[k, , ] - slopes_taken(products, q, state$inner_beta[k, ], weight[k], root)
  }
  inner
}

# What the residuals and, by REML, the fixed effects take from M, of one problem: `products` are those of
# the columns of Z_a'V^-1 [X y] of all a, one a beside the other, and `root` is the triangular factor of
# X'V^-1 X. Both are sums of the products of two blocks, each times its weight.
slopes_taken <- function(products, q, beta, weight, root) {
  times <- weight * base::tcrossprod(c(-beta, 1))
  p <- seq_along(beta)
  if (!is.null(root)) times[p, p] <- times[p, p] + base::chol2inv(root)
  size <- length(beta) + 1L
  dim(products) <- c(size, q, size, q)
  blocks <- matrix(aperm(products, c(1L, 3L, 2L, 4L)), size^2)
  matrix(as.vector(times) %*% blocks, q)
}

theta_gradient <- function(batch, inner, lambda, groups) {
  problems <- dim(inner)[1L]
  first <- seq(1L, by = groups, length.out = problems)
  gradient <- vapply(seq_len(nrow(batch$at)), function(k) {
    row <- batch$at[k, 1L]
    column <- batch$at[k, 2L]
    total <- 0
    for (d in seq(column, batch$q)) {
      factor <- lambda[[d, column]]
      if (!is.null(factor)) total <- total + 2 * inner[, row, d] * factor[first]
    }
    total
  }, numeric(problems))
  matrix(gradient, problems)
}

# Several grouping factors: lme4's own evaluation on the compressed rows, of which only the parts are
# used, as its number of rows is not that of the data. Gradient by central differences.
lme4_batch <- function(problem, part) {
  c(batch_frame(problem, part), list(closed = FALSE, solvers = list(lme4_solver(problem, part))))
}

# What lme4 finds at theta from some of the compressed rows; `y` replaces their response.
lme4_solver <- function(problem, part, rows = seq_along(part$y), left = sum(problem$rss)) {
  devfun <- compressed_devfun(problem, part, rows)
  pp <- environment(devfun)$pp
  resp <- environment(devfun)$resp
  function(theta, y = NULL, rest = left) {
    if (!is.null(y)) resp$setResp(y)
    devfun(theta)
    list(
      log_det = pp$ldL2(), log_det_x = pp$ldRX2(), pwrss = resp$wrss() + pp$sqrL(1) + rest,
      inner_beta = pp$beta(1), rx = pp$RX()
    )
  }
}

lme4_states <- function(batch, theta, which, gradient) {
  found <- lapply(seq_along(which), function(k) batch$solvers[[which[k]]](theta[k, ]))
  each <- function(name, size) {
    matrix(unlist(lapply(found, `[[`, name)), ncol = size, byrow = TRUE)
  }
  p <- nrow(batch$r)
  state <- lapply(c(log_det = "log_det", log_det_x = "log_det_x", pwrss = "pwrss"), each, 1L)
  state <- lapply(state, as.vector)
  state$inner_beta <- each("inner_beta", p)
  state$beta <- coefficients_of(batch, state$inner_beta, which)
  state$rx <- array(each("rx", p^2), c(length(which), p, p))
  if (gradient) {
    state$gradient <- central_gradient(function(t) evaluate_batch(batch, t, which)$criterion, theta)
  }
  state
}

# Gradient by central differences of fourth order, a row a problem. The criterion goes on smoothly
# below a lower limit of 0, as the sign of a column of the covariance factor does not matter.
central_gradient <- function(f, x, step = 1e-3) {
  slopes <- vapply(seq_len(ncol(x)), function(k) {
    at <- function(times) f(x + times * step * rep(seq_len(ncol(x)) == k, each = nrow(x)))
    (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
  }, numeric(nrow(x)))
  matrix(slopes, nrow(x))
}

# lme4's deviance function of the compressed rows (of which only the parts are used: its n is not n).
compressed_devfun <- function(problem, part, rows) {
  levels <- lengths(problem$labels)
  q <- lengths(problem$cnms)
  zt <- do.call(rbind, lapply(seq_along(q), function(t) {
    at <- outer(seq_len(q[t]), (problem$level[[t]][rows] - 1) * q[t], `+`)
    Matrix::sparseMatrix(
      i = as.vector(at), j = rep(seq_along(rows), each = q[t]),
      x = as.vector(t(problem$z[[t]][rows, , drop = FALSE])), dims = c(q[t] * levels[t], length(rows))
    )
  }))
  factors <- lapply(seq_along(q), function(t) term_factor(q[t], levels[t]))
  before <- cumsum(c(0, q * (q + 1) / 2))
  lambdat <- do.call(Matrix::bdiag, lapply(factors, `[[`, "lambdat"))
  index <- unlist(lapply(seq_along(q), function(t) factors[[t]]$index + before[t]))
  lambdat@x <- problem$theta[index]
  mkLmerDevfun(
    X = part$x[rows, , drop = FALSE], reTrms = list(
      Zt = zt, theta = problem$theta, Lambdat = lambdat, Lind = as.integer(index), lower = problem$lower
    ), REML = FALSE, start = problem$theta, y = part$y[rows]
  )
}

# The transposed covariance factor of a term over its groups, and where theta stands in it.
term_factor <- function(q, levels) {
  at <- which(lower.tri(diag(q), diag = TRUE), arr.ind = TRUE)
  at <- at[order(at[, 1L], at[, 2L]), , drop = FALSE]
  index <- matrix(0L, q, q)
  index[lower.tri(index, diag = TRUE)] <- seq_len(q * (q + 1L) / 2L)
  shift <- rep((seq_len(levels) - 1L) * q, each = nrow(at))
  list(
    lambdat = Matrix::sparseMatrix(
      i = rep(at[, 2L], levels) + shift, j = rep(at[, 1L], levels) + shift, x = 1,
      dims = rep(q * levels, 2L)
    ), index = rep(index[at], levels)
  )
}

# The deviance function of a fitted model, as lme4 has it, from the compressed rows: `pp` and `resp` in
# its environment give what those of all rows would, as far as they are asked here and by lmerTest.
deviance_function <- function(m) {
  problem <- compress(m)
  if (!is.null(problem$reason)) {
    return(update(m, devFunOnly = TRUE))
  }
  inner <- compressed_devfun(problem, problem, seq_along(problem$y))
  of_rows <- environment(inner)
  pp <- list2env(list(
    V = Matrix::sparseMatrix(i = integer(), j = integer(), dims = c(problem$n, ncol(problem$x))),
    ldL2 = function() of_rows$pp$ldL2(), ldRX2 = function() of_rows$pp$ldRX2(),
    sqrL = function(fac) of_rows$pp$sqrL(fac), L = function() of_rows$pp$L(),
    RX = function() of_rows$pp$RX(), RXi = function() of_rows$pp$RXi(),
    beta = function(fac) of_rows$pp$beta(fac), b = function(fac) of_rows$pp$b(fac)
  ))
  for (field in c("Lambdat", "RZX")) {
    makeActiveBinding(field, local({
      name <- field
      function() of_rows$pp[[name]]
    }), pp)
  }
  resp <- list(wrss = function() of_rows$resp$wrss() + sum(problem$rss))
  df <- problem$n - if (problem$reml) ncol(problem$x) else 0
  function(theta) {
    inner(theta)
    pwrss <- resp$wrss() + pp$sqrL(1)
    pp$ldL2() + (if (problem$reml) pp$ldRX2() else 0) + df * (1 + log(2 * pi * pwrss / df)) -
      sum(problem$log_weight)
  }
}

# The model as lmerTest has it, with what Satterthwaite's df need: Hessian and Jacobian by lmerTest's own
# differentiation of the deviance function.
with_df <- function(m) lmerTest:::as_lmerModLT(m, deviance_function(m))

# --- the optimum ----------------------------------------------------------------------------------

# Criterion and gradient of a batch, as `minimise` takes them.
objective_of <- function(batch) function(x, which) evaluate_batch(batch, x, which, gradient = TRUE)

# Minima of the problems of a batch by a quasi-Newton method (BFGS; Nocedal & Wright, 2006, ch. 6)
# with backtracking, all at once, from a row of theta each. Theta is left without limits: a column of
# the covariance factor may change its sign, which changes nothing, so a standard deviation of 0 is
# an ordinary minimum. `inverse` is a first guess of the inverse Hessian. A problem is done when the
# decrease that its next step promises is below `tolerance`: theta is then within about
# sqrt(tolerance) of its standard error from the optimum.
minimise <- function(objective, start, inverse = NULL, tolerance = 1e-13, most = 200) {
  x <- start
  problems <- nrow(x)
  size <- ncol(x)
  first <- is.null(inverse)
  h <- array(rep(if (first) diag(size) else inverse, each = problems), c(problems, size, size))
  here <- objective(x, seq_len(problems))
  f <- here$criterion
  g <- here$gradient
  open <- is.finite(f) & is.finite(rowSums(g))
  steps <- 0L
  while (any(open) && steps < most) {
    steps <- steps + 1L
    at <- which(open)
    move <- search_direction(h[at, , , drop = FALSE], g[at, , drop = FALSE])
    if (first && steps == 1L) move <- move / pmax(1, sqrt(rowSums(move^2)) * 2)
    promise <- -rowSums(move * g[at, , drop = FALSE])
    done <- promise < 2 * tolerance & promise >= 0 & steps > 1L
    open[at[done]] <- FALSE
    uphill <- promise < 0
    if (any(uphill)) {
      h[at[uphill], , ] <- rep(diag(size), each = sum(uphill))
      move[uphill, ] <- -g[at[uphill], ] / pmax(1, sqrt(rowSums(g[at[uphill], , drop = FALSE]^2)))
    }
    move <- move[!done, , drop = FALSE]
    at <- at[!done]
    if (!length(at)) break
    there <- backtrack(objective, x, f, g, move, at)
    open[at[!there$moved]] <- FALSE
    s <- there$x - x[at, , drop = FALSE]
    h[at, , ] <- bfgs_update(
      h[at, , , drop = FALSE], s, there$gradient - g[at, , drop = FALSE], first && steps == 1L
    )
    x[at, ] <- there$x
    f[at] <- there$criterion
    g[at, ] <- there$gradient
  }
  list(theta = x, criterion = f, inverse = h, steps = steps, open = open)
}

search_direction <- function(h, g) {
  move <- -g
  for (k in seq_len(ncol(g))) move[, k] <- -rowSums(matrix(h[, k, ], nrow(g)) * g)
  move / pmax(1, sqrt(rowSums(move^2))) # no step beyond 1
}

# Steps that lower the criterion enough (Armijo), halved until they do. Where the promised decrease
# is lost in the rounding error of the criterion, a smaller gradient is enough.
backtrack <- function(objective, x, f, g, move, at, most = 30) {
  new <- list(
    x = x[at, , drop = FALSE], criterion = f[at], gradient = g[at, , drop = FALSE],
    moved = logical(length(at))
  )
  slope <- rowSums(move * new$gradient)
  scale <- rep(1, length(at))
  left <- seq_along(at)
  for (k in seq_len(most)) {
    try <- x[at[left], , drop = FALSE] + scale[left] * move[left, , drop = FALSE]
    state <- objective(try, at[left])
    rounding <- 1e-14 * abs(f[at[left]]) + 1e-13
    lower <- state$criterion <= f[at[left]] + 1e-4 * scale[left] * slope[left]
    level <- abs(state$criterion - f[at[left]]) < 10 * rounding &
      rowSums(state$gradient^2) < rowSums(g[at[left], , drop = FALSE]^2)
    good <- (lower | level) & is.finite(state$criterion) & is.finite(rowSums(state$gradient))
    to <- left[good]
    new$x[to, ] <- try[good, ]
    new$criterion[to] <- state$criterion[good]
    new$gradient[to, ] <- state$gradient[good, ]
    new$moved[to] <- TRUE
    left <- left[!good]
    if (!length(left) || all(scale[left] * -slope[left] < 1e-15)) break
    scale[left] <- scale[left] / 2.5
  }
  new
}

# H + (1 + y'Hy / s'y) s s' / s'y - (H y s' + s y'H) / s'y, where the curvature s'y is positive.
bfgs_update <- function(h, s, y, rescale) {
  curvature <- rowSums(s * y)
  good <- curvature > 1e-14 * sqrt(rowSums(s^2) * rowSums(y^2)) & curvature > 0
  if (rescale) h <- h * ifelse(good, curvature / pmax(rowSums(y^2), 1e-300), 1)
  size <- ncol(s)
  hy <- s
  for (k in seq_len(size)) hy[, k] <- rowSums(matrix(h[, k, ], nrow(s)) * y)
  factor <- (1 + rowSums(y * hy) / curvature) / curvature
  for (i in seq_len(size)) {
    for (j in seq_len(size)) {
      new <- h[, i, j] + factor * s[, i] * s[, j] - (hy[, i] * s[, j] + s[, i] * hy[, j]) / curvature
      h[good, i, j] <- new[good]
    }
  }
  h
}

# The minima, with a second look at those where a standard deviation is 0: the gradient vanishes there
# also where it is no minimum, so if the criterion falls on the way inside, the descent goes on from
# there; with `again`, it does so anyway.
minimise_inside <- function(batch, start, inverse = NULL, again = FALSE, ...) {
  inside <- function(theta, least) {
    theta[, batch$lower == 0] <- pmax(theta[, batch$lower == 0], least)
    theta
  }
  start <- inside(matrix(start, ncol = length(batch$lower)), 0.05)
  found <- minimise(objective_of(batch), start, inverse, ...)
  found$theta <- upright(found$theta, batch)
  edge <- which(rowSums(found$theta[, batch$lower == 0, drop = FALSE] < 1e-3) > 0)
  falls <- rep(again, length(edge))
  if (length(edge) && !again) {
    there <- evaluate_batch(batch, inside(found$theta[edge, , drop = FALSE], 0.03), edge)
    falls <- there$criterion < found$criterion[edge]
  }
  edge <- edge[falls]
  if (length(edge)) {
    start <- inside(found$theta[edge, , drop = FALSE], 0.3)
    more <- minimise(objective_of(some_problems(batch, edge)), start, ...)
    better <- more$criterion < found$criterion[edge] - 1e-9
    found$theta[edge[better], ] <- upright(more$theta, batch)[better, ]
    found$criterion[edge[better]] <- more$criterion[better]
    found$open[edge[better]] <- more$open[better]
  }
  found
}

# A batch of some problems of a batch.
some_problems <- function(batch, which) {
  for (name in c("df", "constant", "n")) batch[[name]] <- batch[[name]][which]
  if (is.matrix(batch$shift)) batch$shift <- batch$shift[which, , drop = FALSE]
  if (!batch$closed) {
    batch$solvers <- batch$solvers[which]
    return(batch)
  }
  batch$z <- lapply(batch$z, function(z) z[, which, , drop = FALSE])
  batch$total <- batch$total[which, , , drop = FALSE]
  batch
}

# The same covariance factor with a diagonal that is not negative, and 0 where it is 0 within
# rounding.
upright <- function(theta, batch) {
  for (k in which(batch$lower == 0)) {
    column <- batch$at[, 2L] == batch$at[k, 2L]
    turn <- theta[, k] < 0
    theta[turn, column] <- -theta[turn, column]
    theta[theta[, k] < 1e-5, k] <- 0
  }
  theta
}

# The optimum of a problem, from `start`.
optimum <- function(problem, start = problem$theta, batch = batch_of(problem)) {
  found <- minimise_inside(batch, start, again = TRUE)
  theta <- found$theta
  here <- evaluate_batch(batch, theta, gradient = TRUE)
  list(
    theta = as.vector(theta), criterion = here$criterion, beta = as.vector(here$beta),
    sigma = here$sigma, vcov = here$sigma^2 * unscaled_covariance(batch, here),
    gradient = as.vector(here$gradient), singular = any(theta[, problem$lower == 0] < 1e-4),
    converged = !found$open, steps = found$steps
  )
}

# The optimum by one of lme4's optimizers, from its starting values and with its settings.
optimum_by <- function(problem, optimizer, batch = batch_of(problem)) {
  opt <- lme4:::optwrap(
    optimizer, function(theta) evaluate_batch(batch, matrix(theta, 1L))$criterion,
    par = ifelse(problem$lower == 0, 1, 0), lower = problem$lower,
    control = lmerControl(optimizer = optimizer)$optCtrl, calc.derivs = FALSE
  )
  list(theta = opt$par, criterion = opt$fval, steps = opt$feval)
}

# Gradient and Hessian of a single problem's criterion, the latter by central differences.
derivatives <- function(batch, theta, step = 1e-4) {
  slope <- function(t) as.vector(evaluate_batch(batch, matrix(t, 1L), gradient = TRUE)$gradient)
  hessian <- vapply(seq_along(theta), function(k) {
    (slope(replace(theta, k, theta[k] + step)) - slope(replace(theta, k, theta[k] - step))) / (2 * step)
  }, numeric(length(theta)))
  hessian <- matrix(hessian, length(theta))
  list(gradient = slope(theta), Hessian = (hessian + t(hessian)) / 2)
}

# --- a genuine fit --------------------------------------------------------------------------------

# lmer() by way of the compressed rows: `model` is a genuine lmerMod on all rows at the optimum that
# the compressed rows give, with lme4's own convergence checks on the derivatives there. Where there is
# nothing to compress, the two criteria differ or a check does not pass, lme4 fits as it does by
# itself, and `reason` says why.
lmer_compressed <- function(formula, ...) {
  call <- match.call(lme4::lmer, sys.call())
  design <- design_of(call, parent.frame())
  found <- optimum_of(design)
  model <- if (is.null(found$reason)) model_at(design, call, found)
  if (is.null(model)) {
    call[[1L]] <- quote(lmer)
    if (is.null(found$reason)) found$reason <- criteria_differ
    return(list(model = eval(call, parent.frame()), reason = found$reason))
  }
  list(model = model, problem = found$problem, optimum = found$fit, reason = NULL)
}

# lmer() with theta given: lme4 builds the model of all rows there, without a search. Theta is that of
# the optimum on the compressed rows, from which the derivatives for lme4's convergence checks come
# again. update() and refit() of the model search as they do for any other.
lmer_at <- function(formula, ..., theta) {
  call <- sys.call()
  call$theta <- NULL
  call <- match.call(lme4::lmer, call)
  design <- design_of(call, parent.frame())
  model <- model_at(design, call, optimum_of(design, theta))
  if (is.null(model)) stop(criteria_differ, call. = FALSE)
  model
}

criteria_differ <- "the criterion of all rows differs from that of the compressed rows"

# The design of a call of lmer, as lme4's lFormula has it, with the control of the call. A design that
# was made for the call that comes next is in `designs` and taken out of it.
designs <- new.env()
design_of <- function(call, frame) {
  call[[1L]] <- quote(lme4::lFormula)
  if (identical(designs$call, call)) {
    made <- designs$made
    rm(list = ls(designs), envir = designs)
    return(made)
  }
  call$control <- if (is.null(call$control)) lmerControl() else eval(call$control, frame)
  design <- design_of_many(call, frame)
  if (is.null(design)) design <- eval(call, frame)
  c(design, list(control = call$control))
}
keep_design <- function(call, design, problem) {
  call[[1L]] <- quote(lme4::lFormula)
  designs$call <- call
  designs$made <- c(design, list(problem = problem))
}

# What lFormula gives of many rows, in a third of its time and memory: lFormula itself makes the design
# of a few rows, with each level of every factor among them, and the columns of all rows go into it
# (without names of rows). NULL where rows are few, or where lFormula is to see them all.
design_of_many <- function(call, frame, many = 50000L) {
  data <- eval(call$data, frame)
  known <- names(call) %in% c("", "formula", "data", "REML", "weights", "offset", "control")
  if (!is.data.frame(data) || nrow(data) < many || !all(known)) {
    return(NULL)
  }
  formula <- stats::as.formula(eval(call$formula, frame))
  formula[[3L]] <- single_bars(formula[[3L]])
  ask <- call[c(1L, match(c("data", "weights", "offset"), names(call), 0L))]
  ask[[1L]] <- quote(stats::model.frame)
  ask$formula <- bars_as_sums(formula)
  ask$drop.unused.levels <- TRUE
  fr <- eval(ask, frame)
  bars <- find_bars(formula[[3L]])
  if (nrow(fr) < nrow(data) || !row_by_row(fr, bars)) {
    return(NULL)
  }
  design <- few_rows_design(call, frame, data, fr)
  for (name in c("terms", "formula", "offset")) attr(fr, name) <- attr(design$fr, name)
  design$fr <- fr
  design$X <- fixed_columns(design$formula, fr, call$control$checkControl)
  bars <- bars[match(names(design$reTrms$Ztlist), vapply(bars, deparse1, ""))]
  design$reTrms <- with_all_rows(design$reTrms, bars, fr)
  design
}

# Whether a row of the design follows from the same row of the data, by factors that are named.
row_by_row <- function(fr, bars) {
  grouped <- vapply(bars, function(bar) is.name(bar[[3L]]) && is.factor(fr[[as.character(bar[[3L]])]]), FALSE)
  terms <- attr(fr, "terms")
  all(grouped) && identical(attr(terms, "predvars"), attr(terms, "variables")) &&
    !any(vapply(fr, is.character, FALSE))
}

# The design of a few rows, without the checks that make sense for all rows only.
few_rows_design <- function(call, frame, data, fr) {
  some <- lapply(Filter(is.factor, fr), function(f) match(levels(f), f))
  call$data <- data[unique(c(seq_len(100L), unlist(some))), , drop = FALSE]
  checks <- c("check.nobs.vs.rankZ", "check.nobs.vs.nlev", "check.nobs.vs.nRE", "check.rankX", "check.scaleX")
  call$control$checkControl[checks] <- "ignore"
  eval(call, frame)
}

# X as lFormula has it.
fixed_columns <- function(formula, fr, control) {
  formula[[3L]] <- without_bars(formula[[3L]])
  x <- stats::model.matrix(formula, fr)
  dimnames(x) <- list(NULL, colnames(x))
  x <- lme4:::chkRank.drop.cols(x, control$check.rankX, 1e-7)
  size <- log(apply(x, 2L, stats::sd))
  size <- size[is.finite(size)]
  if (length(size) && max(abs(size), diff(range(size))) > log(1000)) {
    return(lme4:::checkScaleX(x, control$check.scaleX))
  }
  structure(x, msgScaleX = character())
}

# The random-effects terms of a few rows with those of all rows in their place.
with_all_rows <- function(re, bars, fr) {
  names <- names(re$flist)
  re$flist[names] <- lapply(names, function(name) fr[[name]])
  re$Ztlist <- NULL
  at <- attr(re$flist, "assign")
  entries <- lapply(seq_along(bars), function(t) {
    columns <- t(stats::model.matrix(eval(bquote(~ .(bars[[t]][[2L]]))), fr))
    first <- re$Gp[t] + (as.integer(re$flist[[at[t]]]) - 1L) * nrow(columns)
    list(i = outer(seq_len(nrow(columns)) - 1L, first, `+`), x = columns)
  })
  together <- function(name) as.vector(do.call(rbind, lapply(entries, `[[`, name)))
  i <- as.integer(together("i"))
  zt <- methods::new(
    "dgCMatrix", i = i, p = as.integer(seq(0, length(i), length.out = nrow(fr) + 1L)), x = together("x"),
    Dim = c(nrow(re$Zt), nrow(fr)), Dimnames = list(rownames(re$Zt), NULL)
  )
  re$Zt <- if (all(zt@x != 0)) zt else Matrix::drop0(zt)
  re
}

# The optimum of a design on its compressed rows, that of an optimizer of lme4, or what is found at
# `theta`; why it is none.
optimum_of <- function(design, theta = NULL, by = "") {
  y <- stats::model.response(design$fr)
  weights <- stats::model.weights(design$fr)
  offset <- stats::model.offset(design$fr)
  if (is.null(weights)) weights <- rep(1, length(y))
  if (is.null(offset)) offset <- 0
  problem <- design$problem
  if (is.null(problem)) {
    problem <- compressed_rows(design$X, design$reTrms, y, weights, offset, design$REML)
  }
  if (!is.null(problem$reason)) {
    return(list(reason = problem$reason))
  }
  batch <- batch_of(problem)
  fit <- if (nzchar(by)) {
    optimum_by(problem, by, batch)
  } else if (is.null(theta)) {
    optimum(problem, batch = batch)
  } else {
    list(theta = theta, criterion = evaluate_batch(batch, matrix(theta, 1L))$criterion, steps = 1L)
  }
  derivatives <- derivatives(batch, fit$theta)
  checks <- lme4_checks(derivatives, fit$theta, design$control, problem$lower)
  reason <- if (!nzchar(by) && (isFALSE(fit$converged) || any(c(checks$code, 0L) < 0L))) {
    paste(c("the optimum does not pass the checks", checks$messages), collapse = ": ")
  }
  list(problem = problem, fit = fit, derivatives = derivatives, checks = checks, reason = reason)
}

# The model of all rows at the theta of `found`; NULL where its criterion is not that of the
# compressed rows.
model_at <- function(design, call, found) {
  fit <- found$fit
  terms <- design$reTrms
  terms$theta <- fit$theta
  devfun <- mkLmerDevfun(
    fr = design$fr, X = design$X, reTrms = terms, REML = design$REML, start = fit$theta,
    control = design$control
  )
  criterion <- devfun(fit$theta)
  if (abs(criterion - fit$criterion) > 1e-9 * abs(criterion) + 1e-6) {
    return(NULL)
  }
  opt <- structure(
    list(
      par = fit$theta, fval = criterion, feval = fit$steps, conv = 0L,
      message = "theta from compressed rows"
    ),
    optimizer = design$control$optimizer, control = design$control$optCtrl, # what refit() uses later
    derivs = found$derivatives, warnings = list()
  )
  call[[1L]] <- quote(lmer)
  call$formula <- design$formula
  model <- mkMerMod(environment(devfun), opt, terms, fr = design$fr, lme4conv = found$checks)
  model@call <- call
  model
}

# lme4's checks of an optimum, whose messages stay in the model instead of being raised.
lme4_checks <- function(derivatives, theta, control, lower) {
  suppressMessages(suppressWarnings(
    lme4:::checkConv(derivatives, theta, ctrl = control$checkConv, lbound = lower)
  ))
}
