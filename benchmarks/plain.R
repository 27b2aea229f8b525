# The school achievement analysis as an analyst writes it by hand from the packages: what the report
# of mlmreport holds, without its page, figures and clean room. It reads the data as mlmreport
# prepared them: the profile of the slope's correlation runs along a boundary, and its length depends
# on the last digits of the data. Prints the seconds of each part.
# Usage: Rscript --vanilla plain.R data.csv <samples of each bootstrap>

began <- proc.time()[["elapsed"]]
part <- function(what) {
  now <- proc.time()[["elapsed"]]
  cat(sprintf("%.2f\t%s\n", now - began, what))
  began <<- now
}
suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
})
quiet <- function(x) suppressMessages(suppressWarnings(x))
given <- commandArgs(trailingOnly = TRUE)
samples <- as.integer(given[2])

d <- read.csv(given[1])
d$school <- factor(d$school)
d$minority <- relevel(factor(d$minority), "No")
d$sex <- relevel(factor(d$sex), "Male")
d$sector <- relevel(factor(d$sector), "Public")
part("packages and data")

fixed <- list(
  null = "1", students = "ses_within + minority + sex",
  schools = "ses_within + minority + sex + sector + meanses",
  cross = paste(
    "ses_within + minority + sex + sector + meanses + ses_within:sector + ses_within:meanses"
  )
)
model <- function(fixed, random, data = d, ...) {
  formula <- as.formula(paste("mathach ~", fixed, "+", random), globalenv())
  quiet(eval(bquote(lme4::lmer(.(formula), data = .(substitute(data)), REML = TRUE, ...))))
}
models <- list(
  null = model(fixed$null, "(1 | school)"),
  students = model(fixed$students, "(1 | school)"),
  schools = model(fixed$schools, "(1 | school)"),
  slopes = model(fixed$schools, "(1 + ses_within | school)"),
  cross = model(fixed$cross, "(1 + ses_within | school)")
)
final <- models$cross
tests <- lapply(models, function(m) summary(as_lmerModLmerTest(m)))
ml <- lapply(models, refitML)
compared <- anova(ml$null, ml$students, ml$schools, ml$slopes, ml$cross)
criteria <- lapply(ml, function(m) c(AIC(m), BIC(m), logLik(m)))
part("five models, their tests and comparisons")

optimizers <- lapply(c("bobyqa", "Nelder_Mead"), function(o) { # allFit() tries more than the report
  quiet(update(final, control = lmerControl(optimizer = o)))
})
structures <- list(
  intercepts = model(fixed$cross, "(1 | school)"),
  independent = model(fixed$cross, "(1 | school) + (0 + ses_within | school)"),
  slope = model(fixed$cross, "(0 + ses_within | school)")
)
correlated <- -2 * (logLik(structures$intercepts) - logLik(final))
exact <- RLRsim::exactRLRT(structures$slope, structures$independent, structures$intercepts, nsim = 5000)
added <- lapply(c('dummy(minority, "Yes")', 'dummy(sex, "Female")'), function(slope) {
  larger <- model(fixed$cross, paste0("(1 + ses_within | school) + (0 + ", slope, " | school)"))
  anova(final, larger, refit = FALSE)
})
part("other optimizers and random parts, tests of slopes")

limits <- quiet(confint(final, parm = "theta_", oldNames = FALSE, quiet = TRUE))
part("profile intervals of the variances")

icc_of <- function(m) {
  v <- c(as.data.frame(VarCorr(m))$vcov)
  v[1L] / sum(v)
}
icc <- lapply(models, performance::icc)
icc_samples <- quiet(bootMer(models$null, icc_of, nsim = samples, seed = 1))
grouping <- RLRsim::exactRLRT(models$null, nsim = 10000)
part("ICC, its bootstrap and exact test")

r2 <- lapply(models, function(m) performance::r2_nakagawa(m, tolerance = 0))
of_each <- function(m) c(fixef(m), unlist(performance::r2_nakagawa(m, tolerance = 0)))
drawn <- quiet(bootMer(final, of_each, nsim = samples, seed = 1))
part("parametric bootstrap of R2 and the standard errors")

schools <- split(seq_len(nrow(d)), d$school)
clusters <- t(vapply(seq_len(samples), function(k) {
  rows <- schools[sample.int(length(schools), replace = TRUE)]
  new <- d[unlist(rows), ]
  new$school <- factor(rep(seq_along(rows), lengths(rows))) # a school drawn twice is two schools
  fixef(quiet(update(final, data = new)))
}, fixef(final)))
part("cluster bootstrap of the standard errors")

out <- quiet(influence(final, groups = "school"))
cook <- cooks.distance(out)
betas <- dfbetas(out)
part("influence of every school by refit")

smooth <- lowess(fitted(final), resid(final))
modes <- ranef(final, condVar = TRUE)
level_two <- lapply(modes$school, function(x) qqnorm(x, plot.it = FALSE))
inflation <- performance::check_collinearity(final)
robust <- clubSandwich::vcovCR(final, cluster = d$school, type = "CR2")
robust_tests <- clubSandwich::coef_test(final, vcov = robust, test = "Satterthwaite")
d$minority_mean <- ave(as.numeric(d$minority == "Yes"), d$school)
d$sex_mean <- ave(as.numeric(d$sex == "Female"), d$school)
mundlak <- model(fixed$cross, "(1 + ses_within | school) + minority_mean + sex_mean")
mundlak_tests <- summary(as_lmerModLmerTest(mundlak))
part("assumptions and remedies")

tested <- as_lmerModLmerTest(final)
means <- lapply(c("minority", "sex", "sector"), function(v) {
  quiet(summary(pairs(emmeans::emmeans(tested, v, lmer.df = "satterthwaite", lmerTest.limit = 1e5))))
})
slopes <- quiet(summary(emmeans::emtrends(
  tested, c("sector", "meanses"), "ses_within",
  at = list(meanses = c(-0.4, 0, 0.4)), lmer.df = "satterthwaite", lmerTest.limit = 1e5
)))
standardised <- summary(lmerTest::lmer(
  scale(mathach) ~ scale(ses_within) + minority + sex + sector + scale(meanses) +
    scale(ses_within):sector + scale(ses_within):scale(meanses) + (1 + scale(ses_within) | school),
  data = d
))
ols <- summary(lm(as.formula(paste("mathach ~", fixed$cross)), data = d))
part("means, slopes, standardised coefficients")

stopifnot(
  all(vapply(models, function(m) is.finite(logLik(m)), TRUE)), all(is.finite(cook)),
  all(is.finite(fixef(mundlak)))
)
