"""Define the GraphQL documents that client.py and overview.py send."""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""
ENDED_RUNS = """
query EndedRuns($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { runId status startTime endTime } }
    ... on PythonError { message }
  }
}"""
ADD_PARTITION = """
mutation AddPartition($repository: RepositorySelector!, $set: String!, $key: String!) {
  addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $set, partitionKey: $key
  ) {
    __typename
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""
RUN = """
query Run($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run {
      jobName
      status
    }
    ... on PythonError { message }
  }
}"""
EVENTS = """
query Events($runId: ID!, $cursor: String, $limit: Int!) {
  runOrError(runId: $runId) { ... on Run {
    eventConnection(afterCursor: $cursor, limit: $limit) {
      cursor
      hasMore
      events {
        ... on RunFailureEvent { message }
        ... on ExecutionStepFailureEvent {
          error { message causes { message } }
          failureMetadata { description }
        }
      }
    }
  } }
}"""
LOG_LINES = """
query LogLines($runId: ID!, $cursor: String, $limit: Int!) {
  runOrError(runId: $runId) { ... on Run {
    eventConnection(afterCursor: $cursor, limit: $limit) {
      cursor
      hasMore
      events { ... on LogMessageEvent { message } }
    }
  } }
}"""
MATERIALIZATION = """
query Materialization($asset: AssetKeyInput!, $partition: String!) {
  assetOrError(assetKey: $asset) { ... on Asset {
    assetMaterializations(partitions: [$partition], limit: 1) {
      timestamp
      metadataEntries {
        label
        ... on TextMetadataEntry { text }
        ... on IntMetadataEntry { intRepr }
      }
    }
  } }
}"""
RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 20) {
    __typename
    ... on Runs { results { runId jobName status } }
    ... on InvalidPipelineRunsFilterError { message }
    ... on PythonError { message }
  }
}"""
LOCATIONS = """
query Locations {
  workspaceOrError { ... on Workspace { locationEntries {
    name
    loadStatus
    locationOrLoadError { __typename ... on PythonError { message } }
  } } }
}"""
LIST_RUNS = """
query ListRuns($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results {
      runId jobName status creationTime startTime endTime
      assetSelection { path }
      tags { key value }
    } }
    ... on InvalidPipelineRunsFilterError { message }
    ... on PythonError { message }
  }
}"""
CHECKS = """
query Checks($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks { name blocking } } }
  } }
}"""
CHECK_EXECUTION = """
query CheckExecution($asset: AssetKeyInput!, $check: String!, $partition: String!) {
  assetCheckExecutions(
    assetKey: $asset, checkName: $check, limit: 1, partition: $partition
  ) { evaluation { success severity description } }
}"""
PARTITIONS = """
query Partitions($asset: AssetKeyInput!, $cursor: String, $limit: Int!) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    partitionKeyConnection(limit: $limit, ascending: true, cursor: $cursor) {
      results cursor hasMore
    }
  } }
}"""
DELETE_PARTITIONS = """
mutation DeletePartitions($repository: RepositorySelector!, $set: String!, $keys: [String!]!) {
  deleteDynamicPartitions(
    repositorySelector: $repository, partitionsDefName: $set, partitionKeys: $keys
  ) {
    __typename
    ... on UnauthorizedError { message }
    ... on UnsupportedOperationError { message }
    ... on PythonError { message }
  }
}"""
