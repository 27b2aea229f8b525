# The school achievement analysis as an analyst writes it by hand: the same models and numbers, no
# report. It reads the data as mlmreport prepared them: the profile of the slope's correlation runs
# along a boundary, and its length depends on the last digits of the data.
# Usage: Rscript --vanilla plain.R data.csv
suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
})

d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
d$school <- factor(d$school)
d$minority <- relevel(factor(d$minority), "No")
d$sex <- relevel(factor(d$sex), "Male")
d$sector <- relevel(factor(d$sector), "Public")

formulas <- list(
  null = mathach ~ 1 + (1 | school),
  students = mathach ~ ses_within + minority + sex + (1 | school),
  schools = mathach ~ ses_within + minority + sex + sector + meanses + (1 | school),
  slopes = mathach ~ ses_within + minority + sex + sector + meanses + (1 + ses_within | school),
  cross = mathach ~ ses_within + minority + sex + sector + meanses +
    ses_within:sector + ses_within:meanses + (1 + ses_within | school)
)
models <- lapply(formulas, function(f) {
  eval(bquote(lme4::lmer(.(f), data = d, REML = TRUE)))
})
summaries <- lapply(models, function(m) summary(lmerTest::as_lmerModLmerTest(m)))
icc <- lapply(models, performance::icc)
ml <- lapply(models, refitML)
tests <- anova(ml$null, ml$students, ml$schools, ml$slopes, ml$cross)
criteria <- lapply(ml, function(m) c(AIC(m), BIC(m), logLik(m)))

final <- models$cross
limits <- confint(final, parm = "theta_", oldNames = FALSE, quiet = TRUE)
r2 <- lapply(models, function(m) performance::r2_nakagawa(m, tolerance = 0))
standardised <- lmerTest::lmer(
  scale(mathach) ~ scale(ses_within) + minority + sex + sector + scale(meanses) +
    scale(ses_within):sector + scale(ses_within):scale(meanses) + (1 + scale(ses_within) | school),
  data = d
)
smooth <- lowess(fitted(final), resid(final))
modes <- ranef(final, condVar = TRUE)
level_two <- lapply(modes$school, function(x) qqnorm(x, plot.it = FALSE))
inflation <- performance::check_collinearity(final)
ols <- summary(lm(
  mathach ~ ses_within + minority + sex + sector + meanses + ses_within:sector + ses_within:meanses,
  data = d
))
tested <- lmerTest::as_lmerModLmerTest(final)
slopes <- lapply(c("Public", "Catholic"), function(s) {
  contrast <- setNames(numeric(length(fixef(final))), names(fixef(final)))
  contrast["ses_within"] <- 1
  if (s == "Catholic") contrast["ses_within:sectorCatholic"] <- 1
  lmerTest::contest1D(tested, contrast, confint = TRUE)
})
stopifnot(all(vapply(models, function(m) is.finite(logLik(m)), TRUE)))
