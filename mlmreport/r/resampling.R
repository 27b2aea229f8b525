# Refits of a compressed model (compression.R): parametric and cluster bootstrap, and leaving out each
# group. Hundreds of refits of the same design are made at once.
#
#   parametric_bootstrap(problem, fit, replicates)   simulate and refit
#   cluster_bootstrap(problem, fit, replicates)      draw whole groups with replacement and refit
#   leave_out_groups(problem, fit, by)               every refit without one group
#   group_influence(problem, left_out)               Cook's distance, DFBETAS, change of the variances

# --- parameters -----------------------------------------------------------------------------------

# Standard deviations, correlations, residual standard deviation and fixed effects, a row a fit, with
# lme4's names of them.
named_parameters <- function(problem, theta, sigma, beta) {
  random <- covariance_parameters(problem, theta, sigma)
  colnames(beta) <- problem$beta_names
  cbind(random, sigma = sigma, beta)
}

covariance_parameters <- function(problem, theta, sigma) {
  q <- lengths(problem$cnms)
  before <- cumsum(c(0, q * (q + 1) / 2))
  found <- lapply(seq_along(q), function(t) {
    part <- theta[, before[t] + seq_len(q[t] * (q[t] + 1) / 2), drop = FALSE]
    names <- problem$cnms[[t]]
    at <- which(lower.tri(diag(q[t]), diag = TRUE), arr.ind = TRUE)
    entry <- function(i, j) { # of Lambda Lambda'
      total <- 0
      for (k in seq_len(min(i, j))) {
        column <- function(r) part[, which(at[, 1L] == r & at[, 2L] == k)]
        total <- total + column(i) * column(j)
      }
      total
    }
    values <- vapply(seq_len(nrow(at)), function(k) {
      i <- at[k, 1L]
      j <- at[k, 2L]
      if (i == j) sigma * sqrt(entry(i, i)) else entry(i, j) / sqrt(entry(i, i) * entry(j, j))
    }, numeric(nrow(theta)))
    values <- matrix(values, nrow(theta))
    same <- at[, 1L] == at[, 2L]
    colnames(values) <- paste0(
      ifelse(same, paste0("sd_", names[at[, 1L]]), paste0("cor_", names[at[, 1L]], ".", names[at[, 2L]])),
      "|", problem$group[t]
    )
    values
  })
  do.call(cbind, found)
}

# The inverse Hessian at an optimum, as a first guess for refits; NULL where it is not definite.
warm_inverse <- function(batch, theta) {
  hessian <- derivatives(batch, theta)$Hessian
  root <- tryCatch(chol.default(hessian), error = function(e) NULL)
  if (is.null(root) || rcond(root) < 1e-6) NULL else chol2inv(root)
}

# Refits of a batch, as rows of parameters.
refitted <- function(problem, batch, theta, inverse) {
  start <- matrix(theta, length(batch$df), length(theta), byrow = TRUE)
  found <- minimise_inside(batch, start, inverse, tolerance = 1e-11)
  state <- evaluate_batch(batch, found$theta)
  list(
    theta = found$theta, beta = state$beta, sigma = state$sigma, criterion = state$criterion,
    singular = rowSums(found$theta[, problem$lower == 0, drop = FALSE] < 1e-4) > 0,
    converged = !found$open & is.finite(state$criterion)
  )
}

# Results of blocks, one below the other; missing values where a refit did not converge.
stack_refits <- function(problem, blocks, statistic) {
  get <- function(name) {
    parts <- lapply(blocks, `[[`, name)
    if (is.matrix(parts[[1L]])) do.call(rbind, unname(parts)) else unlist(parts, use.names = FALSE)
  }
  names <- c("theta", "beta", "sigma", "criterion", "singular", "converged")
  found <- stats::setNames(lapply(names, get), names)
  found$values <- statistic(problem, found$theta, found$sigma, found$beta)
  colnames(found$beta) <- problem$beta_names
  for (name in c("theta", "beta", "values")) found[[name]][!found$converged, ] <- NA
  found$sigma[!found$converged] <- NA
  found
}

# Nominal seconds of one refit, counted and not measured (see fit_cost): in closed form 0.4 microseconds
# for each element of the groups' cross-products, else five steps of lme4's evaluations, one and four
# for each element of the gradient.
refit_cost <- function(problem) {
  k <- length(problem$theta)
  q <- sum(lengths(problem$cnms))
  if (length(unique(problem$group)) == 1L) {
    return(5e-4 + 4e-7 * length(problem$labels[[1L]]) * q * (q + ncol(problem$x) + 1))
  }
  5 * (1 + 4 * k) * (2e-4 + 170e-9 * problem$rows[["kept"]] * q)
}

# --- bootstrap ------------------------------------------------------------------------------------

# A stream of random numbers for each replicate (L'Ecuyer, Simard, Chen & Kelton, 2002), so that a
# replicate is the same in whatever block or process it is made.
replicate_streams <- function(seed, replicates) {
  with_generator(seed, {
    stream <- .Random.seed
    streams <- matrix(0L, length(stream), replicates)
    for (k in seq_len(replicates)) {
      streams[, k] <- stream
      stream <- parallel::nextRNGStream(stream)
    }
    streams
  })
}

# The streams of some replicates, in blocks.
stream_blocks <- function(streams, which, ...) {
  lapply(in_blocks(which, ...), function(k) streams[, k, drop = FALSE])
}

# Evaluates with L'Ecuyer's generator from a seed, and leaves R's own generator as it was.
with_generator <- function(seed, expr) {
  kept <- get0(".Random.seed", globalenv(), inherits = FALSE)
  kinds <- RNGkind("L'Ecuyer-CMRG", "Inversion", "Rejection")
  on.exit({
    do.call(RNGkind, as.list(kinds))
    if (is.null(kept)) {
      rm(".Random.seed", envir = globalenv())
    } else {
      assign(".Random.seed", kept, envir = globalenv())
    }
  })
  set.seed(seed)
  expr
}

# `draw()` once a stream.
drawn <- function(streams, draw) {
  with_generator(1, lapply(seq_len(ncol(streams)), function(k) {
    assign(".Random.seed", streams[, k], envir = globalenv())
    draw()
  }))
}

# Parametric bootstrap: of each replicate the compressed responses are normal given new random
# effects, and the residual sum of squares of what is left out is sigma^2 times a chi-square, which is
# exactly what a simulation of all rows would give. `which` are the replicates to make; `statistic`
# takes problem, theta, sigma and beta (a row a replicate).
parametric_bootstrap <- function(problem, fit = optimum(problem), replicates = 1000, seed = 1,
                                 which = seq_len(replicates), statistic = named_parameters) {
  found <- over_blocks(
    stream_blocks(replicate_streams(seed, replicates), which), simulated_refits,
    problem = problem, fit = fit, inverse = warm_inverse(batch_of(problem), fit$theta)
  )
  stack_refits(problem, found, statistic)
}

simulated_refits <- function(streams, problem, fit, inverse) {
  part <- conditioned(problem)
  new <- drawn(streams, function() simulated_response(problem, fit))
  y <- vapply(new, `[[`, numeric(length(part$y)), "y")
  rss <- vapply(new, `[[`, 0, "rss")
  batch <- with_responses(problem, part, batch_of(problem, part), fit$beta, y, rss)
  refitted(problem, batch, fit$theta, inverse)
}

# New compressed responses less the fixed part, and the residual sum of squares left out.
simulated_response <- function(problem, fit) {
  q <- lengths(problem$cnms)
  before <- cumsum(c(0, q * (q + 1) / 2))
  y <- stats::rnorm(length(problem$y))
  for (t in seq_along(q)) {
    lambda <- matrix(0, q[t], q[t])
    lambda[lower.tri(lambda, diag = TRUE)] <- fit$theta[before[t] + seq_len(q[t] * (q[t] + 1) / 2)]
    u <- matrix(stats::rnorm(length(problem$labels[[t]]) * q[t]), ncol = q[t])
    y <- y + rowSums(problem$z[[t]] * (u %*% t(lambda))[problem$level[[t]], , drop = FALSE])
  }
  rest <- sum(problem$rest)
  list(y = fit$sigma * y, rss = if (rest > 0) fit$sigma^2 * stats::rchisq(1, rest) else 0)
}

# The batch of a design with other responses, a column each, less `shift` times the columns of X.
with_responses <- function(problem, part, batch, shift, y, rss) {
  size <- ncol(y)
  single <- batch
  batch <- some_problems(batch, rep(1L, size))
  batch$shift <- matrix(shift, size, length(shift), byrow = TRUE)
  if (!batch$closed) {
    solver <- single$solvers[[1L]]
    batch$solvers <- lapply(seq_len(size), function(k) function(theta) solver(theta, y[, k], rss[k]))
    return(batch)
  }
  z <- do.call(cbind, problem$z)
  last <- batch$p + 1L
  for (a in seq_len(batch$q)) {
    batch$z[[a]][, , batch$q + last] <- rowsum(z[, a] * y, problem$level[[1L]])
  }
  xy <- t(base::crossprod(part$x, y))
  batch$total[, last, -last] <- batch$total[, -last, last] <- xy
  batch$total[, last, last] <- colSums(y^2) + rss
  batch
}

# Cluster bootstrap: the groups of `by`, into which all other factors must be nested, are drawn with
# replacement (Field & Welsh, 2007); a group drawn twice is two groups. A draw in which a fixed effect
# cannot be estimated counts as not converged.
cluster_bootstrap <- function(problem, fit = optimum(problem), replicates = 1000, seed = 1, by = NULL,
                              which = seq_len(replicates), statistic = named_parameters) {
  found <- over_blocks(
    stream_blocks(replicate_streams(seed, replicates), which), redrawn_refits,
    problem = problem, fit = fit, inverse = warm_inverse(batch_of(problem), fit$theta),
    top = top_term(problem, by)
  )
  stack_refits(problem, found, statistic)
}

redrawn_refits <- function(streams, problem, fit, inverse, top) {
  part <- conditioned(problem)
  groups <- length(problem$labels[[top]])
  draws <- drawn(streams, function() sample.int(groups, replace = TRUE))
  estimable <- vapply(draws, function(draw) {
    full_rank(sqrt(tabulate(draw, groups)[problem$level[[top]]]) * part$x)
  }, FALSE)
  draws[!estimable] <- list(seq_len(groups))
  batch <- with_groups(problem, part, batch_of(problem, part), draws, top)
  found <- refitted(problem, batch, fit$theta, inverse)
  found$converged <- found$converged & estimable
  found
}

# Whether columns of a conditioned design are still independent.
full_rank <- function(x) {
  min(1, eigen(base::crossprod(x), TRUE, only.values = TRUE)$values) > 1e-9
}

# The term whose groups hold all other groups.
top_term <- function(problem, by = NULL) {
  top <- if (is.null(by)) which.min(lengths(problem$labels)) else match(by, problem$group)
  for (codes in problem$level) {
    if (any(rowSums(table(codes, problem$level[[top]]) > 0) > 1)) {
      stop(
        "groups of ", problem$group[top], " do not hold whole groups of the other factors, so they ",
        "cannot be drawn on their own",
        call. = FALSE
      )
    }
  }
  top
}

# What belongs to each group of a term: rows of data, residual sums of squares, logs of weights.
group_totals <- function(problem, term) {
  found <- rowsum(
    cbind(n = problem$size, rss = problem$rss, log_weight = problem$log_weight), problem$cells[, term]
  )
  list(n = found[, 1L], rss = found[, 2L], log_weight = found[, 3L])
}

# A batch of samples of groups; a draw may hold a group several times.
with_groups <- function(problem, part, batch, draws, term) {
  totals <- group_totals(problem, term)
  single <- batch
  batch <- some_problems(batch, rep(1L, length(draws)))
  sums <- function(v) vapply(draws, function(k) sum(v[k]), 0)
  batch$n <- sums(totals$n)
  batch$df <- batch$n - if (problem$reml) ncol(part$x) else 0
  batch$constant <- if (problem$reml) part$log_det - sums(totals$log_weight) else -sums(totals$log_weight)
  if (!batch$closed) {
    batch$solvers <- lapply(draws, function(draw) copied_groups(problem, part, draw, term, totals))
    return(batch)
  }
  index <- unlist(draws)
  batch$z <- lapply(single$z, function(z) {
    array(z[index, 1L, ], c(length(draws[[1L]]), length(draws), dim(z)[3L]))
  })
  w <- cbind(part$x, part$y)
  for (k in seq_along(draws)) {
    times <- tabulate(draws[[k]], dim(single$z[[1L]])[1L])[problem$level[[term]]]
    batch$total[k, , ] <- base::crossprod(sqrt(times) * w)
  }
  last <- batch$p + 1L
  batch$total[, last, last] <- batch$total[, last, last] + sums(totals$rss)
  batch
}

# The solver of a sample of groups, each copy with groups of its own.
copied_groups <- function(problem, part, draw, term, totals) {
  by_group <- split(seq_along(part$y), problem$level[[term]])[draw]
  rows <- unlist(by_group)
  copy <- rep(seq_along(draw), lengths(by_group))
  new <- problem
  new$z <- lapply(problem$z, function(z) z[rows, , drop = FALSE])
  new$level <- lapply(problem$level, function(level) {
    code <- copy * (max(level) + 1) + level[rows]
    match(code, unique(code))
  })
  new$labels <- lapply(new$level, function(level) seq_len(max(level)))
  lme4_solver(
    new, list(x = part$x[rows, , drop = FALSE], y = part$y[rows]), seq_along(rows), sum(totals$rss[draw])
  )
}

# --- leaving out groups ---------------------------------------------------------------------------

# The exact refit without each group of a factor (`which`: some of them). A group without which the
# fixed effects cannot be estimated has `estimable` FALSE and missing values.
leave_out_groups <- function(problem, fit = optimum(problem), by = problem$group[1L], which = NULL) {
  term <- match(by, problem$group)
  part <- conditioned(problem)
  if (is.null(which)) which <- seq_along(problem$labels[[term]])
  estimable <- vapply(which, function(k) {
    full_rank(part$x[problem$level[[term]] != k, , drop = FALSE])
  }, FALSE)
  if (!any(estimable) || length(problem$labels[[term]]) < 3L) {
    undefined("the model cannot be estimated with any one of the groups left out")
  }
  found <- over_blocks(
    in_blocks(which[estimable]), refits_without, problem = problem, fit = fit,
    inverse = warm_inverse(batch_of(problem, part), fit$theta), term = term
  )
  found <- stack_refits(problem, found, named_parameters)
  expand <- function(v) {
    to <- match(seq_along(which), base::which(estimable))
    if (is.matrix(v)) v[to, , drop = FALSE] else v[to]
  }
  c(
    list(group = problem$labels[[term]][which], estimable = estimable, fit = fit),
    lapply(found, expand)
  )
}

refits_without <- function(groups, problem, fit, inverse, term) {
  part <- conditioned(problem)
  batch <- without_groups(problem, part, batch_of(problem, part), groups, term)
  refitted(problem, batch, fit$theta, inverse)
}

# A batch of the problem without one group each.
without_groups <- function(problem, part, batch, groups, term) {
  totals <- group_totals(problem, term)
  single <- batch
  batch <- some_problems(batch, rep(1L, length(groups)))
  batch$n <- problem$n - totals$n[groups]
  batch$df <- batch$n - if (problem$reml) ncol(part$x) else 0
  batch$constant <- batch$constant + totals$log_weight[groups]
  left <- sum(problem$rss) - totals$rss[groups]
  if (!batch$closed) {
    batch$solvers <- lapply(seq_along(groups), function(k) {
      lme4_solver(problem, part, which(problem$level[[term]] != groups[k]), left[k])
    })
    return(batch)
  }
  w <- cbind(part$x, part$y)
  columns <- dim(batch$z[[1L]])[3L]
  gone <- cbind(rep(groups, columns), rep(seq_along(groups), columns), rep(seq_len(columns), each = length(groups)))
  for (a in seq_len(batch$q)) batch$z[[a]][gone] <- 0
  for (k in seq_along(groups)) {
    batch$total[k, , ] <- base::crossprod(w[problem$level[[term]] != groups[k], , drop = FALSE])
  }
  last <- batch$p + 1L
  batch$total[, last, last] <- batch$total[, last, last] + left
  batch
}

# Influence of each group, b_j the estimates without it, a row a group:
#   cook      (b - b_j)' C^-1 (b - b_j) / p, C the covariance matrix of b (Christensen, Pearson &
#             Johnson, 1992)
#   dfbetas   (b - b_j) / SE(b), a column a fixed effect
#   change    relative change of each variance and of the residual variance without the group; not
#             defined for a variance that is zero with all groups
group_influence <- function(problem, left_out) {
  fit <- left_out$fit
  difference <- sweep(-left_out$beta, 2L, fit$beta, `+`)
  dimnames(difference) <- list(left_out$group, problem$beta_names)
  random <- covariance_parameters(problem, matrix(fit$theta, 1L), fit$sigma)
  kept <- grep("^sd_", colnames(random))
  whole <- c(random[1L, kept], sigma = fit$sigma)
  whole[whole < 1e-6 * fit$sigma] <- NA
  change <- sweep(left_out$values[, names(whole), drop = FALSE], 2L, whole, `/`)^2 - 1
  rownames(change) <- left_out$group
  list(
    cook = rowSums((difference %*% solve(fit$vcov)) * difference) / length(fit$beta),
    dfbetas = sweep(difference, 2L, sqrt(diag(fit$vcov)), `/`), change = change
  )
}
