package offsite

const killPlan = "SEKISHO_TEST_KILL_PLAN"

func workUntilKilled() {}
