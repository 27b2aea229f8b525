# Profile-likelihood limits of a model as compress() gives it (compression.R): of standard deviations,
# correlations, sigma and fixed effects, each limit found directly where the signed root of the
# profiled deviance reaches the normal quantile (Venzon & Moolgavkar, 1988), without the profile in
# between. By maximum likelihood, as lme4's profile() is, or, for what belongs to the random part, by
# the restricted likelihood, whose intervals keep their level with few groups (benchmarks/README.md).
#
#   profile_limits(problem, parameters, level)   a row a parameter: lower, upper, estimate, bounded
#   icc_limits(problem, group, level)            of a share of variance of random intercepts

# `parameters` are names of confint_profile(), or "theta_" for SDs, correlations and sigma,
# "beta_" for fixed effects, which are profiled by maximum likelihood also where `reml` is TRUE. A
# limit is NA for a correlation with an effect of variance zero, which the likelihood does not depend on.
profile_limits <- function(problem, parameters = NULL, level = 0.95, reml = FALSE) {
  known <- profiled_parameters(problem)
  fixed <- names(known) %in% problem$beta_names
  if (is.null(parameters)) parameters <- names(known)
  if (identical(parameters, "theta_")) parameters <- names(known)[!fixed]
  if (identical(parameters, "beta_")) parameters <- names(known)[fixed]
  restricted <- reml & !parameters %in% names(known)[fixed]
  parts <- lapply(split(parameters, restricted), function(names) {
    problem$reml <- restricted[match(names[1L], parameters)]
    over_blocks(
      as.list(names), limits_of, problem = problem, fit = optimum(problem), level = level
    )
  })
  rows <- do.call(rbind, unlist(unname(parts), recursive = FALSE))
  rownames(rows) <- rows$parameter
  rows[parameters, ]
}

limits_of <- function(name, problem, fit, level) {
  way <- profiled_parameters(problem)[[name]]
  estimate <- named_parameters(problem, matrix(fit$theta, 1L), fit$sigma, matrix(fit$beta, 1L))
  value <- estimate[[1L, name]]
  if (is.na(value)) {
    return(data.frame(
      lower = NA_real_, upper = NA_real_, estimate = NA_real_, lower_bounded = FALSE,
      upper_bounded = FALSE, parameter = name
    ))
  }
  profile <- switch(way$kind,
    sigma = sigma_profile(problem, fit),
    sd = sd_profile(problem, fit, way$term, way$columns),
    cor = cor_profile(problem, fit, way$term, way$columns),
    beta = beta_profile(problem, fit, way$column)
  )
  groups <- if (is.null(way$term)) problem$n else length(problem$labels[[way$term]])
  step <- stats::qnorm((1 + level) / 2) * switch(way$kind,
    sigma = value / sqrt(2 * groups), sd = max(value, fit$sigma / 20) / sqrt(2 * groups) * 1.5,
    cor = max(0.05, 1 - value^2) / sqrt(groups), beta = sqrt(fit$vcov[way$column, way$column])
  )
  range <- switch(way$kind, sigma = c(0, Inf), sd = c(0, Inf), cor = c(-1, 1), beta = c(-Inf, Inf))
  target <- stats::qnorm((1 + level) / 2)
  side <- function(k) {
    profile_limit(profile, value, c(-1, 1)[k] * step, range[k], fit$criterion, target)
  }
  lower <- side(1L)
  upper <- side(2L)
  data.frame(
    lower = lower$x, upper = upper$x, estimate = value, lower_bounded = lower$bounded,
    upper_bounded = upper$bounded, parameter = name
  )
}

# Profile-likelihood interval of the share of one grouping's variance in a model of random intercepts:
# rho = theta_k^2 / (unit + sum theta^2), theta = tau / sigma, with the mean inverse prior weight as
# unit (1 without weights). Rho held, theta_k follows from the others, over which it is minimised.
icc_limits <- function(problem, group, level = 0.95, reml = FALSE) {
  problem$reml <- reml
  fit <- optimum(problem)
  batch <- batch_of(problem)
  k <- match(group, problem$group)
  unit <- problem$inverse_weight
  profile <- warm_profile(function(rho) {
    function(x, which) {
      theta <- matrix(0, nrow(x), ncol(x) + 1L)
      theta[, -k] <- x
      odds <- rho / (1 - rho)
      theta[, k] <- sqrt(odds * (unit + rowSums(x^2)))
      state <- evaluate_batch(batch, theta, which, gradient = TRUE)
      follows <- if (rho > 0) odds * x / theta[, k] else 0 * x
      state$gradient <- state$gradient[, -k, drop = FALSE] + state$gradient[, k] * follows
      state
    }
  }, inside_start(fit$theta, problem$lower)[-k])
  rho <- fit$theta[k]^2 / (unit + sum(fit$theta^2))
  step <- max(0.02, rho * (1 - rho)) / sqrt(length(problem$labels[[k]]))
  target <- stats::qnorm((1 + level) / 2)
  side <- function(by, end) profile_limit(profile, rho, by, end, fit$criterion, target)$x
  c(lower = side(-step, 0), upper = side(step, 1 - 1e-9))
}

# How each parameter is profiled, by lme4's names.
profiled_parameters <- function(problem) {
  q <- lengths(problem$cnms)
  random <- unlist(lapply(seq_along(q), function(t) {
    at <- which(lower.tri(diag(q[t]), diag = TRUE), arr.ind = TRUE)
    lapply(seq_len(nrow(at)), function(k) {
      kind <- if (at[k, 1L] == at[k, 2L]) "sd" else "cor"
      list(kind = kind, term = t, columns = unique(as.vector(at[k, ])))
    })
  }), recursive = FALSE)
  fixed <- lapply(seq_len(ncol(problem$x)), function(k) list(kind = "beta", column = k))
  one <- matrix(0, 1L, sum(q * (q + 1) / 2))
  names <- colnames(covariance_parameters(problem, one, 1))
  stats::setNames(c(random, list(list(kind = "sigma")), fixed), c(names, "sigma", problem$beta_names))
}

# Where the root of the profiled deviance above its minimum reaches `target`, on the side of `step`:
# steps out to a point beyond it, then secant steps on the root, which is nearly linear. At a limit of
# the parameter where it is not reached, that limit, marked as bounded.
profile_limit <- function(profile, value, step, limit, least, target, most = 60) {
  root <- function(x) c(x = x, root = sqrt(max(0, profile(x) - least)))
  near <- c(x = value, root = 0)
  for (k in seq_len(most)) {
    x <- near[["x"]] + step
    if ((x - limit) * sign(step) >= 0) x <- limit
    far <- root(x)
    if (far[["root"]] >= target) {
      return(list(x = between(root, near, far, target, most), bounded = FALSE))
    }
    if (x == limit) {
      return(list(x = limit, bounded = TRUE))
    }
    # The next step aims a little beyond, at most at four times the last; where the root does not
    # rise, as on a profile with a dent, it goes on by twice the last.
    rise <- far[["root"]] - near[["root"]]
    step <- step * if (rise > 0) min(4, max(0.1, 1.02 * (target - far[["root"]]) / rise)) else 2
    near <- far
  }
  list(x = NA_real_, bounded = FALSE)
}

# The point between `near` (root below the target) and `far` (not below) that reaches the target; the
# end that stays is given half its distance (the Illinois rule; Dowell & Jarratt, 1971).
between <- function(root, near, far, target, most) {
  below <- near[["root"]] - target
  above <- far[["root"]] - target
  for (k in seq_len(most)) {
    x <- (near[["x"]] * above - far[["x"]] * below) / (above - below)
    if (!is.finite(x)) x <- (near[["x"]] + far[["x"]]) / 2 # no likelihood at the far end
    here <- root(x)
    off <- here[["root"]] - target
    if (abs(off) < 1e-7 || abs(far[["x"]] - near[["x"]]) < 1e-10 * abs(x)) break
    if (off < 0) {
      if (k > 1L && last < 0) above <- above / 2
      near <- here
      below <- off
    } else {
      if (k > 1L && last > 0) below <- below / 2
      far <- here
      above <- off
    }
    last <- off
  }
  x
}

# Least criterion as a function of what is held: `objective(value)` is minimised from where the last
# minimisation ended.
warm_profile <- function(objective, start) {
  start <- matrix(start, 1L)
  inverse <- NULL
  function(value) {
    if (!length(start)) {
      return(objective(value)(start, 1L)$criterion)
    }
    found <- minimise(objective(value), start, inverse, tolerance = 1e-12)
    start <<- found$theta
    inverse <<- matrix(found$inverse, ncol(start))
    found$criterion
  }
}

inside_start <- function(theta, lower) {
  theta[lower == 0] <- pmax(theta[lower == 0], 0.05)
  theta
}

# Sigma held: the criterion with sigma not profiled out.
sigma_profile <- function(problem, fit) {
  batch <- batch_of(problem)
  warm_profile(function(sigma) {
    batch$sigma <- max(sigma, 1e-8 * fit$sigma)
    objective_of(batch)
  }, inside_start(fit$theta, problem$lower))
}

# A fixed effect held: its column times the value is taken from the response.
beta_profile <- function(problem, fit, column) {
  held <- problem$x[, column]
  problem$x <- problem$x[, -column, drop = FALSE]
  part <- conditioned(problem)
  batch <- batch_of(problem, part)
  left <- function(v) v - as.vector(part$x %*% base::crossprod(part$x, v))
  y <- left(problem$y)
  held <- left(held)
  warm_profile(function(value) {
    objective_of(with_responses(
      problem, part, batch, numeric(ncol(problem$x)), matrix(y - value * held), sum(problem$rss)
    ))
  }, inside_start(fit$theta, problem$lower))
}

# A problem with some columns of a term put first, and theta accordingly.
reordered <- function(problem, theta, term, columns) {
  q <- lengths(problem$cnms)
  order <- c(columns, setdiff(seq_len(q[term]), columns))
  at <- sum((q * (q + 1) / 2)[seq_len(term - 1L)]) + seq_len(q[term] * (q[term] + 1) / 2)
  lambda <- matrix(0, q[term], q[term])
  lambda[lower.tri(lambda, diag = TRUE)] <- inside_start(theta, problem$lower)[at]
  lambda <- t(chol.default(tcrossprod(lambda)[order, order, drop = FALSE]))
  problem$z[[term]] <- problem$z[[term]][, order, drop = FALSE]
  problem$cnms[[term]] <- problem$cnms[[term]][order]
  theta <- inside_start(theta, problem$lower)
  theta[at] <- lambda[lower.tri(lambda, diag = TRUE)]
  list(problem = problem, theta = theta, first = at[1L], q = q[[term]])
}

# A standard deviation held at s. With its column first it is sigma times the first element of theta,
# so that element is s / sigma, and log(sigma) takes its place among what is minimised over.
sd_profile <- function(problem, fit, term, column) {
  new <- reordered(problem, fit$theta, term, column)
  batch <- batch_of(new$problem)
  k <- new$first
  warm_profile(function(s) {
    function(x, which) {
      sigma <- exp(x[, k])
      theta <- x
      theta[, k] <- s / sigma
      batch$sigma <- sigma
      state <- evaluate_batch(batch, theta, which, gradient = TRUE)
      by_sigma <- 2 * batch$df - 2 * state$pwrss / sigma^2
      state$gradient[, k] <- by_sigma - state$gradient[, k] * theta[, k]
      state
    }
  }, replace(new$theta, k, log(fit$sigma)))
}

# A correlation held at r. With its columns first, the second row of the factor is c (r, sqrt(1 - r^2)),
# and c takes the place of its first element; the place of its second stays idle.
cor_profile <- function(problem, fit, term, columns) {
  new <- reordered(problem, fit$theta, term, columns)
  batch <- batch_of(new$problem)
  first <- new$first + 1L
  second <- new$first + new$q
  start <- new$theta
  start[first] <- sqrt(start[first]^2 + start[second]^2)
  start <- start[-second]
  warm_profile(function(r) {
    function(x, which) {
      size <- x[, first]
      theta <- matrix(0, nrow(x), ncol(x) + 1L)
      theta[, -second] <- x
      theta[, first] <- size * r
      theta[, second] <- size * sqrt(1 - r^2)
      state <- evaluate_batch(batch, theta, which, gradient = TRUE)
      slope <- state$gradient
      slope[, first] <- r * slope[, first] + sqrt(1 - r^2) * slope[, second]
      state$gradient <- slope[, -second, drop = FALSE]
      state
    }
  }, start)
}
