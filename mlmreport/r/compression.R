# Linear mixed models on compressed data.
#
# The criterion of a Gaussian mixed model depends on rows that share their columns of Z only through
# the triangular factor of a QR decomposition of their rows of [Z X y] (Bates, Maechler, Bolker &
# Walker, 2015, for the criterion; Golub & Van Loan, 2013, for the decomposition). A group of n_j
# rows is so replaced by at most p + q rows and one residual sum of squares, with nothing lost: the
# likelihood, its optimum and the estimates are those of all rows.
#
# What the other files call:
#   compress(m)                 a fitted model                -> problem (see `compressed_rows`)
#   evaluator(problem)          problem                       -> state(theta, gradient)
#   optimum(problem)            problem                       -> theta, criterion, beta, sigma, ...
#   derivatives(state, theta)   gradient and Hessian of the criterion
#   lmer_compressed(...)        lmer's arguments              -> a genuine lmerMod, and how it came
#   other_optimizers(problem)   the optimum by other optimizers
#
# lme4, Matrix, base and stats only.

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
#   n, reml, theta, lower, cnms, group (name of each term's factor), rows (kept and of)
#   reason               why nothing is gained, or NULL
compressed_rows <- function(x, re, y, weights, offset, reml) {
  z <- term_columns(re)
  assign <- attr(re$flist, "assign")
  codes <- lapply(re$flist, as.integer)[assign]
  cell <- cell_codes(codes[!duplicated(assign)])
  scale <- if (all(weights == 1)) 1 else sqrt(weights)
  all <- scale * cbind(do.call(cbind, z), x, y - offset)
  dimnames(all) <- NULL
  first <- match(seq_len(max(cell)), cell)
  kept <- cell_factors(all, cell)
  q <- vapply(z, ncol, 1L)
  at <- split(seq_len(sum(q)), rep(seq_along(q), q))
  sum_by <- function(v) as.vector(rowsum(v, cell))
  size <- tabulate(cell, max(cell))
  problem <- list(
    x = kept$r[, sum(q) + seq_len(ncol(x)), drop = FALSE], y = kept$r[, ncol(all)],
    z = lapply(at, function(k) kept$r[, k, drop = FALSE]), cell = kept$cell,
    cells = vapply(codes, function(code) code[first], integer(length(first))),
    rss = kept$rss, rest = size - tabulate(kept$cell, max(cell)), size = size,
    log_weight = if (length(scale) == 1L) 0 * size else sum_by(log(weights)),
    labels = lapply(re$flist, levels)[assign], group = names(re$flist)[assign],
    cnms = re$cnms, theta = re$theta, lower = re$lower, reml = reml, n = length(y),
    beta_names = colnames(x)
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

# The columns of each random-effects term, a row an observation, read off lme4's sparse Z'.
term_columns <- function(re) {
  q <- lengths(re$cnms)
  per_row <- sum(q)
  if (all(diff(re$Zt@p) == per_row)) {
    z <- t(matrix(re$Zt@x, nrow = per_row))
    return(lapply(split(seq_len(per_row), rep(seq_along(q), q)), function(k) z[, k, drop = FALSE]))
  }
  levels <- lengths(lapply(re$flist, levels))[attr(re$flist, "assign")]
  start <- cumsum(c(0, q * levels))
  lapply(seq_along(q), function(t) {
    vapply(seq_len(q[t]), function(k) {
      Matrix::colSums(re$Zt[start[t] + seq(k, by = q[t], length.out = levels[t]), , drop = FALSE])
    }, numeric(ncol(re$Zt)))
  })
}

# Codes 1, 2, ... of the combinations of groups that occur.
cell_codes <- function(codes) {
  code <- Reduce(function(a, b) a * (max(b) + 1) + b, lapply(codes, as.numeric))
  if (length(codes) == 1L && all(tabulate(codes[[1L]]) > 0)) {
    return(codes[[1L]])
  }
  match(code, sort(unique(code)))
}

# The triangular factor of each cell's rows, all cells at once, by modified Gram-Schmidt, whose
# triangular factor is as accurate as Householder's (Bjoerck, 1967; Golub & Van Loan, 2013, ch. 5).
# A column that lies in the span of the earlier ones within a cell gives no row there.
cell_factors <- function(a, cell, tolerance = 1e-10) {
  cells <- max(cell)
  columns <- ncol(a)
  gather <- Matrix::sparseMatrix(i = cell, j = seq_along(cell), x = 1, dims = c(cells, length(cell)))
  sums <- function(v) as.matrix(gather %*% v)
  a <- lapply(seq_len(columns), function(k) a[, k])
  least <- lapply(a, function(v) tolerance^2 * sums(v^2))
  rows <- vector("list", columns - 1L)
  for (k in seq_len(columns - 1L)) {
    norm <- sums(a[[k]]^2)
    found <- norm > least[[k]] & norm > 0
    if (!any(found)) next
    r <- matrix(0, cells, columns)
    r[, k] <- sqrt(norm)
    for (l in (k + 1L):columns) {
      share <- sums(a[[k]] * a[[l]]) / norm
      share[!found] <- 0
      r[, l] <- share * r[, k]
      a[[l]] <- a[[l]] - a[[k]] * share[cell]
    }
    rows[[k]] <- cbind(which(found), r[found, , drop = FALSE])
  }
  rows <- do.call(rbind, rows)
  rows <- rows[order(rows[, 1L]), , drop = FALSE]
  list(r = rows[, -1L, drop = FALSE], cell = rows[, 1L], rss = as.vector(sums(a[[columns]]^2)))
}

# --- the criterion --------------------------------------------------------------------------------

# The criterion of a problem as a function of theta: state(theta, gradient) gives
#   criterion   deviance, or REML criterion
#   gradient    if asked for
#   beta, pwrss, sigma, unscaled (X'V^-1 X)^-1 with V the covariance over sigma^2, log_det of V
# One grouping factor is solved group by group in closed form; everything else by lme4 itself.
evaluator <- function(problem) {
  if (length(unique(problem$group)) == 1L) block_evaluator(problem) else lme4_evaluator(problem)
}

# X made orthonormal and y replaced by its residual, for accuracy: x = orthonormal %*% r.
conditioned <- function(problem) {
  q <- qr(problem$x, LAPACK = FALSE, tol = 1e-10)
  p <- ncol(problem$x)
  if (q$rank < p) stop("the fixed-effects columns are linearly dependent", call. = FALSE)
  r <- qr.R(q)[, order(q$pivot), drop = FALSE]
  list(
    x = qr.Q(q), y = qr.resid(q, problem$y), r = r, shift = qr.coef(q, problem$y),
    log_det = 2 * sum(log(abs(diag(r))))
  )
}

# What a solution has in common whichever way it was found, in the units of the model.
solved <- function(problem, part, beta, unscaled, pwrss, log_det, log_det_x) {
  df <- problem$n - if (problem$reml) ncol(problem$x) else 0
  list(
    criterion = log_det + df * (1 + log(2 * pi * pwrss / df)) - sum(problem$log_weight) +
      if (problem$reml) log_det_x + part$log_det else 0,
    beta = part$shift + as.vector(backsolve(part$r, beta)), pwrss = pwrss, df = df,
    sigma = sqrt(pwrss / df), log_det = log_det, unscaled = function() {
      inverse <- backsolve(part$r, unscaled())
      tcrossprod(inverse)
    }
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

# One grouping factor: the cross-products of each group, and the criterion from them.
block_evaluator <- function(problem) {
  part <- conditioned(problem)
  blocks <- group_blocks(problem, part)
  function(theta, gradient = FALSE) block_state(problem, part, blocks, theta, gradient)
}

# Z_j' [Z_j X_j y_j] of all groups stacked: a column a random effect; and [X y]'[X y].
group_blocks <- function(problem, part) {
  z <- do.call(cbind, problem$z)
  all <- cbind(z, part$x, part$y)
  group <- problem$level[[1L]]
  w <- all[, -seq_len(ncol(z)), drop = FALSE]
  total <- crossprod(w)
  total[length(total)] <- total[length(total)] + sum(problem$rss)
  list(
    stack = vapply(seq_len(ncol(z)), function(k) {
      as.vector(rowsum(z[, k] * all, group, reorder = FALSE))
    }, numeric(length(unique(group)) * ncol(all))),
    total = total, q = ncol(z), columns = ncol(all), groups = length(unique(group)),
    at = factor_positions(problem$cnms)
  )
}

# With A_j = Lambda' Z_j'Z_j Lambda + I = L_j L_j', all L_j at once by eliminating the rows of
# [A_j | Lambda' Z_j' [Z_j X_j y_j]]; then X'V^-1 X = X'X - sum of U_j'U_j, U_j = L_j^-1 Lambda' Z_j'X_j.
block_state <- function(problem, part, blocks, theta, gradient = FALSE) {
  q <- blocks$q
  columns <- blocks$columns
  lambda <- matrix(0, q, q)
  lambda[blocks$at] <- theta
  stack <- blocks$stack %*% lambda
  u <- vector("list", q)
  log_det <- 0
  reduced <- blocks$total
  z <- seq_len(q)
  for (a in z) {
    row <- matrix(stack[, a], blocks$groups)
    row <- cbind(row[, z, drop = FALSE] %*% lambda, row)
    row[, a] <- row[, a] + 1
    for (b in seq_len(a - 1L)) row <- row - u[[b]][, a] * u[[b]]
    log_det <- log_det + sum(log(row[, a]))
    u[[a]] <- row / sqrt(row[, a])
    reduced <- reduced - crossprod(u[[a]][, -seq_len(2L * q), drop = FALSE])
  }
  p <- columns - q - 1L
  factor <- tryCatch(chol.default(reduced), error = function(e) NULL)
  if (is.null(factor)) {
    return(list(criterion = Inf, gradient = rep(NaN, length(theta))))
  }
  x <- seq_len(p)
  rx <- factor[x, x, drop = FALSE]
  beta <- backsolve(rx, factor[x, p + 1L])
  pwrss <- factor[p + 1L, p + 1L]^2
  log_det_x <- 2 * sum(log(diag(rx)))
  inverse <- function() backsolve(rx, diag(p))
  state <- solved(problem, part, beta, inverse, pwrss, log_det, log_det_x)
  if (gradient) {
    state$gradient <- block_gradient(problem, blocks, u, lambda, beta, inverse(), state)
  }
  state
}

# d criterion / d Lambda = 2 (sum Z'V^-1 Z - df / pwrss sum e e' - [REML] sum S C S') Lambda, with
# e = Z'V^-1 (y - X beta), S = Z'V^-1 X and C = (X'V^-1 X)^-1, summed over the groups: the derivative
# of log |V|, of the penalised sum of squares (at its minimum over beta and u) and of log |X'V^-1 X|.
block_gradient <- function(problem, blocks, u, lambda, beta, inverse, state) {
  q <- blocks$q
  columns <- blocks$columns
  z <- seq_len(q)
  x <- q + seq_along(beta)
  trace <- matrix(0, q, q)
  residual <- matrix(0, blocks$groups, q)
  spread <- vector("list", q)
  for (a in z) {
    v <- matrix(blocks$stack[, a], blocks$groups)
    for (b in z) v <- v - u[[b]][, q + a] * u[[b]][, -z, drop = FALSE]
    trace[a, ] <- colSums(v[, z, drop = FALSE])
    residual[, a] <- v[, columns] - v[, x, drop = FALSE] %*% beta
    if (problem$reml) spread[[a]] <- as.vector(v[, x, drop = FALSE] %*% inverse)
  }
  inner <- trace - state$df / state$pwrss * crossprod(residual)
  if (problem$reml) inner <- inner - crossprod(do.call(cbind, spread))
  (2 * inner %*% lambda)[blocks$at]
}

# Several grouping factors: lme4's own evaluation on the compressed rows, with the true number of
# rows and the residual sum of squares that they leave out; gradient by central differences.
lme4_evaluator <- function(problem) {
  part <- conditioned(problem)
  devfun <- compressed_devfun(problem, part)
  pp <- environment(devfun)$pp
  resp <- environment(devfun)$resp
  left <- sum(problem$rss)
  p <- ncol(problem$x)
  value <- function(theta) {
    devfun(theta)
    solved(
      problem, part, pp$beta(1), function() pp$RXi(), resp$wrss() + pp$sqrL(1) + left,
      pp$ldL2(), pp$ldRX2()
    )
  }
  function(theta, gradient = FALSE) {
    if (gradient) slope <- central_gradient(function(t) value(t)$criterion, theta)
    state <- value(theta)
    if (gradient) state$gradient <- slope
    state
  }
}

# lme4's deviance function of the compressed rows (of which only the parts are used: its n is not n).
compressed_devfun <- function(problem, part) {
  levels <- lengths(problem$labels)
  q <- lengths(problem$cnms)
  zt <- do.call(rbind, lapply(seq_along(q), function(t) {
    rows <- outer(seq_len(q[t]), (problem$level[[t]] - 1) * q[t], `+`)
    Matrix::sparseMatrix(
      i = as.vector(rows), j = rep(seq_along(part$y), each = q[t]), x = as.vector(t(problem$z[[t]])),
      dims = c(q[t] * levels[t], length(part$y))
    )
  }))
  factors <- lapply(seq_along(q), function(t) term_factor(q[t], levels[t]))
  before <- cumsum(c(0, q * (q + 1) / 2))
  lambdat <- do.call(Matrix::bdiag, lapply(factors, `[[`, "lambdat"))
  index <- unlist(lapply(seq_along(q), function(t) factors[[t]]$index + before[t]))
  lambdat@x <- problem$theta[index]
  mkLmerDevfun(
    X = part$x, reTrms = list(
      Zt = zt, theta = problem$theta, Lambdat = lambdat, Lind = as.integer(index), lower = problem$lower
    ), REML = FALSE, start = problem$theta, y = part$y
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

# --- the optimum ----------------------------------------------------------------------------------

# Gradient by central differences of fourth order. The criterion goes on smoothly below a lower
# limit of 0, as the sign of a column of the covariance factor does not matter.
central_gradient <- function(f, x, step = 1e-3) {
  vapply(seq_along(x), function(k) {
    at <- function(times) f(replace(x, k, x[k] + times * step))
    (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
  }, 0)
}

# Gradient and Hessian of the criterion, the latter by central differences of the former.
derivatives <- function(state, theta, step = 1e-4) {
  gradient <- function(t) state(t, TRUE)$gradient
  hessian <- vapply(seq_along(theta), function(k) {
    (gradient(replace(theta, k, theta[k] + step)) - gradient(replace(theta, k, theta[k] - step))) /
      (2 * step)
  }, numeric(length(theta)))
  hessian <- matrix(hessian, length(theta))
  list(gradient = gradient(theta), Hessian = (hessian + t(hessian)) / 2)
}

# The minimum of the criterion: from `start`, and if a standard deviation ends at 0 once more from
# inside, as the gradient vanishes there also where it is no minimum. What is at 0 within rounding
# is put there, as lme4 does.
optimum <- function(problem, start = problem$theta, state = evaluator(problem)) {
  best <- descend(state, start, problem$lower)
  edge <- problem$lower == 0 & best$par < 1e-3
  if (any(edge)) {
    again <- descend(state, replace(best$par, edge, 0.3), problem$lower)
    if (again$objective < best$objective) best <- again
  }
  theta <- best$par
  for (k in which(problem$lower == 0 & theta < 1e-4)) {
    at_zero <- replace(theta, k, 0)
    if (state(at_zero)$criterion <= best$objective + 1e-8) theta <- at_zero
  }
  c(list(
    theta = theta, singular = any(theta[problem$lower == 0] < 1e-4), converged = best$convergence == 0,
    message = best$message, evaluations = best$evaluations
  ), state(theta))
}

# Quasi-Newton descent with the limits of theta (PORT; Gay, 1990). Value and gradient come from one
# evaluation.
descend <- function(state, start, lower) {
  last <- list(theta = NULL)
  at <- function(theta) {
    if (!identical(theta, last$theta)) last <<- c(list(theta = theta), state(theta, TRUE))
    last
  }
  nlminb(
    start, function(theta) at(theta)$criterion, function(theta) at(theta)$gradient, lower = lower,
    control = list(rel.tol = 1e-13, x.tol = 1e-9, eval.max = 500, iter.max = 500)
  )
}
