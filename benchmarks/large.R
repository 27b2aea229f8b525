# The three models of large.py in plain R: lmer with its defaults.
# Usage: Rscript --vanilla large.R <data> <rows.rds>
# A csv file is read and stored as <rows.rds>; of an rds file the models are fitted, and stay in memory.

given <- commandArgs(trailingOnly = TRUE)
if (endsWith(given[1], ".csv")) {
  d <- read.csv(given[1])
  d$school <- factor(d$school)
  saveRDS(d[c("school", "y", "x_within", "z", "w")], given[2], compress = FALSE)
} else {
  suppressPackageStartupMessages(library(lme4))
  d <- readRDS(given[1])
  models <- list(
    lmer(y ~ 1 + (1 | school), data = d),
    lmer(y ~ x_within + z + w + (1 | school), data = d),
    lmer(y ~ x_within + z + w + (1 + x_within | school), data = d)
  )
}
