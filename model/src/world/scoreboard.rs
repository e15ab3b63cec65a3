whole!("src/scoreboard.rs");
