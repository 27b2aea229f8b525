# Parametric bootstrap: the parameters found at once and by lme4::refit, and how much
# lower the deviance is at theirs; how far the deviance itself is from lme4's. The argument is the path of definitions.R.
suppressMessages(library(lme4))
folder <- dirname(commandArgs(trailingOnly = TRUE)[1L])
for (file in list.files(folder, "^definitions.*R$", full.names = TRUE)) source(file)

say <- function(...) cat(..., sep = "\t", fill = FALSE)
models <- list(
  correlated = lmer(Reaction ~ Days + (Days | Subject), sleepstudy),
  independent = lmer(Reaction ~ Days + (Days || Subject), sleepstudy, REML = FALSE),
  singular = suppressMessages(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2))
)
for (name in names(models)) {
  m <- models[[name]]
  set.seed(1)
  y <- as.matrix(simulate(m, 6))
  mine <- refit_many(m, y)
  theirs <- suppressWarnings(refit_each(m, y))
  group <- names(getME(m, "flist"))
  shares <- bootstrap_shares(m, mine, group) - bootstrap_shares(m, theirs, group)
  s <- group_products(m, y)
  better <- profiled_fit(s, mine$theta, 1:6)$deviance - profiled_fit(s, theirs$theta, 1:6)$deviance
  # The deviance at the model's own outcome and theta. X is made orthonormal, which moves the REML
  # criterion by a constant. (That of lme4::refit is not used: version 1.1-31 does not update it.)
  criterion <- if (isREML(m)) REMLcrit(m) else deviance(m, REML = FALSE)
  if (isREML(m)) criterion <- criterion - 2 * sum(log(abs(diag(qr.R(qr(getME(m, "X")))))))
  own <- group_products(m, cbind(getME(m, "y")))
  off <- profiled_fit(own, matrix(getME(m, "theta"), 1L), 1L)$deviance - criterion
  say(name, max(abs(shares)), max(better), off, sum(mine$failed))
  cat("\n")
}
