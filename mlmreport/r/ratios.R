# Likelihood-ratio tests of random effects by the parametric bootstrap, on compressed data
# (compression.R, resampling.R): the null distribution of a variance, or of a variance with its
# covariances, for the design at hand, where the mixture of chi-squares holds for many groups only.
#
#   bootstrap_ratio_p() of two fits

# p of the ratio of two fits of the same fixed part, the smaller model true: responses are drawn from
# it and both models fitted again. Hundreds of replicates (two blocks) are drawn until `enough` ratios
# are as large as the observed one (Besag & Clifford, 1991): a p that is not small is known from few of
# them. A p of k among n replicates is (k + 1) / (n + 1) (Davison & Hinkley, 1997, eq. 4.11), so never 0.
bootstrap_ratio_p <- function(smaller, larger, replicates, seed, enough = 25) {
  observed <- max(0, 2 * as.numeric(logLik(larger) - logLik(smaller)))
  null <- ratio_design(smaller, larger)
  exceeding <- function(ratios) sum(unlist(ratios) >= observed - 1e-6)
  ratios <- over_blocks(
    stream_blocks(replicate_streams(seed, replicates), seq_len(replicates)), drawn_ratios,
    null = null, enough = function(ratios) length(ratios) %% 2L == 0L && exceeding(ratios) >= enough
  )
  (exceeding(ratios) + 1) / (length(unlist(ratios)) + 1)
}

# Both models on the compressed rows of the larger one, which hold all that the smaller one needs.
ratio_design <- function(smaller, larger) {
  problem <- compress(larger)
  if (length(unique(problem$group)) > 1L) undefined("the model has several groupings")
  within <- part_of_problem(problem, smaller)
  part <- conditioned(problem)
  batches <- list(larger = batch_of(problem, part), smaller = batch_of(within, part))
  starts <- list(larger = problem$theta, smaller = within$theta)
  list(
    problems = list(larger = problem, smaller = within), part = part, batches = batches,
    starts = starts, inverses = Map(warm_inverse, batches, lapply(starts, matrix, 1L)),
    fit = list(theta = within$theta, sigma = sigma(smaller), beta = as.vector(fixef(smaller)))
  )
}

# A problem with the random effects of another model only, each a column of its own terms.
part_of_problem <- function(problem, m) {
  names_of <- rep(seq_along(problem$cnms), lengths(problem$cnms))
  columns <- unlist(problem$cnms)
  z <- do.call(cbind, problem$z)
  within <- problem
  within$cnms <- m@cnms
  at <- match(names(m@flist)[attr(m@flist, "assign")], problem$group)
  within$z <- lapply(m@cnms, function(names) z[, match(names, columns), drop = FALSE])
  for (name in c("level", "labels", "group")) within[[name]] <- problem[[name]][at]
  within$cells <- problem$cells[, at, drop = FALSE]
  within$theta <- getME(m, "theta")
  within$lower <- m@lower
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
