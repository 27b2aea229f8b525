# Likelihood-ratio tests of random effects on compressed data (compression.R, resampling.R): the null
# distribution of a variance, or of a variance with its covariances, for the design at hand, where the
# mixture of chi-squares holds for many groups only.
#
#   ratio_without_groups(m)            the ratio of a model against its fixed part alone
#   simulated_ratio_p(only, ratio)     p of a variance that is correlated with no other, by RLRsim
#   exact_grouping_test(m)             both, of a null model of one grouping
#   bootstrap_ratio_p(ratio, null)     p of any two fits, whose design under the smaller one is
#   ratio_design(problem, smaller)     `null`, by the parametric bootstrap
#   fit_of(m)                          what it takes of the smaller model

# Restricted or full likelihood ratio of a model against its fixed part alone.
ratio_without_groups <- function(m) {
  batch <- batch_of(compress(m))
  criterion <- function(theta) evaluate_batch(batch, matrix(theta, 1L))$criterion
  theta <- getME(m, "theta")
  max(0, criterion(0 * theta) - criterion(theta))
}

# P-value of a restricted likelihood ratio for one variance, by simulation of its exact null
# distribution (Crainiceanu & Ruppert, 2004; with other variances in the model: Greven,
# Crainiceanu, Kuechenhoff & Peters, 2008). `only` has the tested effect as its one random effect.
# RLRsim takes two things from the design: how many rows and columns X has, and the eigenvalues of
# Z'Z - Z'X (X'X)^-1 X'Z, which are those of the compressed rows. These have the weights and the
# offset in them, which RLRsim::exactRLRT leaves out of account. The observed ratio counts as one of
# the simulated ones, so that p is never 0 and the test keeps its level: (b + 1) / (B + 1) (Davison &
# Hinkley, 1997, eq. 4.11; Phipson & Smyth, 2010).
simulated_ratio_p <- function(only, ratio, simulations, seed) {
  if (ratio < 1e-8) {
    return(1)
  }
  problem <- compress(only)
  z <- rowsum(problem$z[[1L]]^2, problem$level[[1L]])
  shared <- rowsum(problem$z[[1L]][, 1L] * conditioned(problem)$x, problem$level[[1L]])
  left <- diag(z[, 1L]) - tcrossprod(shared)
  spread <- eigen(left, symmetric = TRUE, only.values = TRUE)$values
  groups <- length(spread)
  nothing <- qr(matrix(0, groups, 1L)) # as what X explains is taken out
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  found <- RLRsim::RLRTSim(
    getME(only, "X"), diag(sqrt(pmax(spread, 0))), nothing, diag(groups), nsim = simulations
  )
  (sum(found > ratio) + 1) / (simulations + 1)
}

# The exact restricted likelihood-ratio test of the one variance of a null model.
exact_grouping_test <- function(m, simulations, seed) {
  ratio <- ratio_without_groups(m)
  list(statistic = ratio, p.value = simulated_ratio_p(m, ratio, simulations, seed))
}

# p of the ratio of two fits of the same fixed part, the smaller model true: responses are drawn from
# it and both models fitted again. Hundreds of replicates (two blocks) are drawn until `enough` ratios
# are as large as the observed one (Besag & Clifford, 1991): a p that is not small is known from few of
# them. A p of k among n replicates is (k + 1) / (n + 1) (Davison & Hinkley, 1997, eq. 4.11), so never 0.
bootstrap_ratio_p <- function(ratio, null, replicates, seed, enough = 25) {
  force(null)
  exceeding <- function(ratios) sum(unlist(ratios) >= ratio - 1e-6)
  ratios <- over_blocks(
    stream_blocks(replicate_streams(seed, replicates), seq_len(replicates)), drawn_ratios,
    null = null, enough = function(ratios) length(ratios) %% 2L == 0L && exceeding(ratios) >= enough
  )
  (exceeding(ratios) + 1) / (length(unlist(ratios)) + 1)
}

# Both models on the compressed rows of the larger one, which hold all that the smaller one needs.
ratio_design <- function(problem, smaller) {
  if (length(unique(problem$group)) > 1L) undefined("the model has several groupings")
  within <- part_of_problem(problem, smaller)
  part <- conditioned(problem)
  batches <- list(larger = batch_of(problem, part), smaller = batch_of(within, part))
  starts <- list(larger = problem$theta, smaller = within$theta)
  list(
    problems = list(larger = problem, smaller = within), part = part, batches = batches,
    starts = starts, inverses = Map(warm_inverse, batches, lapply(starts, matrix, 1L)),
    fit = smaller[c("theta", "sigma", "beta")]
  )
}

# The random part of a model and its estimates, without its data.
fit_of <- function(m) {
  list(
    cnms = m@cnms, group = names(m@flist)[attr(m@flist, "assign")], lower = m@lower,
    theta = getME(m, "theta"), sigma = sigma(m), beta = as.vector(fixef(m))
  )
}

# A problem with the random effects of another fit only, each a column of its own terms.
part_of_problem <- function(problem, fit) {
  names_of <- rep(seq_along(problem$cnms), lengths(problem$cnms))
  columns <- unlist(problem$cnms)
  z <- do.call(cbind, problem$z)
  within <- problem
  within$cnms <- fit$cnms
  at <- match(fit$group, problem$group)
  within$z <- lapply(fit$cnms, function(names) z[, match(names, columns), drop = FALSE])
  for (name in c("level", "labels", "group")) within[[name]] <- problem[[name]][at]
  within$cells <- problem$cells[, at, drop = FALSE]
  within$theta <- fit$theta
  within$lower <- fit$lower
  within
}

# Ratios of both models on responses drawn from the smaller one, a stream each.
drawn_ratios <- function(streams, null) {
  new <- drawn(streams, function() simulated_response(null$problems$smaller, null$fit))
  y <- vapply(new, `[[`, numeric(length(null$part$y)), "y")
  rss <- vapply(new, `[[`, 0, "rss")
  least <- lapply(c("smaller", "larger"), function(which) {
    batch <- with_responses(
      null$problems[[which]], null$part, null$batches[[which]], null$fit$beta, y, rss
    )
    refitted(null$problems[[which]], batch, null$starts[[which]], null$inverses[[which]])$criterion
  })
  pmax(0, least[[1L]] - least[[2L]])
}
