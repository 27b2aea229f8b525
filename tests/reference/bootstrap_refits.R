# Parametric bootstrap on compressed data against lme4's refits of outcomes drawn from the model.
# Prints a line a model: its name, the largest difference of a percentile (5, 50, 95 %) of a parameter
# in SDs of the parameter, and how many refits failed. The argument is the path of definitions.R.
suppressMessages(library(lme4))
folder <- dirname(commandArgs(trailingOnly = TRUE)[1L])
files <- list.files(folder, "^definitions.*R$", full.names = TRUE)
for (file in c(files, file.path(folder, c("compression.R", "resampling.R")))) source(file)

say <- function(...) cat(..., sep = "\t", fill = FALSE)
samples <- 400
sleepstudy$known <- sleepstudy$Days / 3
models <- list(
  correlated = lmer(Reaction ~ Days + (Days | Subject), sleepstudy),
  independent = lmer(Reaction ~ Days + (Days || Subject), sleepstudy, REML = FALSE),
  singular = suppressMessages(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2)),
  weights = lmer(Reaction ~ Days + (1 | Subject), sleepstudy, weights = 1 + Days, offset = known),
  nested = lmer(strength ~ 1 + (1 | batch / cask), Pastes),
  crossed = lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
)
for (name in names(models)) {
  m <- models[[name]]
  mine <- parametric_bootstrap(compress(m), replicates = samples, seed = 3)
  theirs <- bootstrap_refits(m, samples, 4)
  stopifnot(identical(sort(colnames(mine$values)), sort(colnames(theirs$values))))
  percentiles <- function(v) apply(v, 2L, quantile, c(0.05, 0.5, 0.95), na.rm = TRUE)
  spread <- apply(theirs$values, 2L, sd, na.rm = TRUE)
  off <- percentiles(mine$values)[, colnames(theirs$values)] - percentiles(theirs$values)
  say(name, max(abs(sweep(off, 2L, spread, `/`))), sum(!mine$converged) + sum(!theirs$converged))
  cat("\n")
}

# Balanced one-way data: by REML the ICC is (F - 1) / (F + n - 1), not below 0, and F over its expected
# value has an F distribution, so the percentiles are known (Searle, Casella & McCulloch, 1992, ch. 3).
m <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff)
found <- bootstrap_icc(m, parametric_bootstrap(compress(m), replicates = 4000, seed = 5))[, "Batch"]
at <- c(0.25, 0.5, 0.75, 0.975)
f <- (1 + 5 * component(m, "Batch", "(Intercept)") / sigma(m)^2) * qf(at, 5, 24)
say("icc", max(abs(quantile(found, at) - pmax(0, (f - 1) / (f + 4)))) / sd(found), 0)
cat("\n")
