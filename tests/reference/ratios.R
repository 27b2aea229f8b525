# The null distribution of the likelihood ratio of a correlated random slope, by lme4 itself (simulate,
# and a fresh fit of both models to each sample) and by r/ratios.R: quantiles, and both p.
# The argument is the path of definitions.R.
suppressMessages(library(lme4))
folder <- dirname(commandArgs(trailingOnly = TRUE)[1L])
for (file in list.files(folder, "[.]R$", full.names = TRUE)) source(file)

data <- sleepstudy
data$y <- simulate(lmer(Reaction ~ Days + (1 | Subject), sleepstudy), seed = 5)[[1L]]
pair <- function(data, reml) {
  list(
    smaller = lmer(y ~ Days + (1 | Subject), data, REML = reml),
    larger = suppressMessages(lmer(y ~ Days + (Days | Subject), data, REML = reml))
  )
}
ratio <- function(fits) 2 * as.numeric(logLik(fits$larger) - logLik(fits$smaller))
for (reml in c(TRUE, FALSE)) {
  own <- pair(data, reml)
  samples <- simulate(own$smaller, 400, seed = 9)
  brute <- vapply(samples, function(y) ratio(pair(replace(data, "y", list(y)), reml)), 0)
  design <- ratio_design(compress(own$larger), fit_of(own$smaller))
  mine <- drawn_ratios(replicate_streams(4, 4000), design)
  for (at in c(0.5, 0.8, 0.9)) {
    share <- mean(mine <= quantile(brute, at))
    cat(paste("share below quantile", at, reml), share, at, sep = "\t")
    cat("\n")
  }
  p <- bootstrap_ratio_p(ratio(own), design, 2000, 1, enough = Inf)
  cat(paste("p", reml), p, mean(brute >= ratio(own)), sep = "\t")
  cat("\n")
  few <- bootstrap_ratio_p(ratio(own), design, 2000, 1)
  cat(paste("p of few", reml), few, p, sep = "\t")
  cat("\n")
}
