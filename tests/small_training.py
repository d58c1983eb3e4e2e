"""The small training of the tests of what a run rests on."""

SMALL = (
    "tracker=none",
    "defense=at",
    "name=small",
    "runtime=cpu",
    "model.width=0.25",
    "schedule.batch_size=10",
    "dataset.limit_train=20",
    "dataset.limit_val=10",
    "dataset.limit_test=10",
    "suite=own",
    "attack.steps=2",
    "defense.inner_steps=1",
    "evaluation.pictures=0",
)
